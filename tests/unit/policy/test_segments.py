"""Blocks cover exactly the pairs that a pack's mask allows, each once, on every context-parallel rank."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.policy.segments import Block, Segment, blocks, zigzag

GROUPS = st.lists(st.tuples(st.integers(1, 9), st.lists(st.integers(0, 5), max_size=4)), min_size=1, max_size=4)


def segments_of(groups: list[tuple[int, list[int]]]) -> list[Segment]:
    """Histories and input rows of their actions (an action of one token has none)."""
    found, offset = [], 0
    for history, actions in groups:
        prefix = (offset, offset + history)
        found.append(Segment(*prefix))
        offset += history
        for rows in filter(None, actions):
            found.append(Segment(offset, offset + rows, prefix))
            offset += rows
    return found


def allowed(segments: list[Segment]) -> torch.Tensor:
    """The mask of a pack, written down pair by pair."""
    size = segments[-1].stop
    mask = torch.zeros(size, size, dtype=torch.int64)
    for segment in segments:
        for row in range(segment.start, segment.stop):
            mask[row, segment.start : row + 1] = 1
            if segment.prefix is not None:
                mask[row, slice(*segment.prefix)] = 1
    return mask


@given(GROUPS, st.integers(1, 3))
def test_blocks_are_the_mask_cut_into_rectangles(groups: list[tuple[int, list[int]]], ranks: int) -> None:
    segments = segments_of(groups)
    used = segments[-1].stop
    if padding := -used % (2 * ranks):
        segments.append(Segment(used, used + padding))
    rows = segments[-1].stop
    seen = torch.zeros(rows, rows, dtype=torch.int64)
    for rank in range(ranks):
        slices = zigzag(rows, rank, ranks)
        mine = torch.cat([torch.arange(*part) for part in slices])
        for block in blocks(segments, slices):
            for i, query in enumerate(mine[block.q_start : block.q_stop].tolist()):
                last = block.k_start + i + 1 if block.causal else block.k_stop
                seen[query, block.k_start : last] += 1
    assert torch.equal(seen, allowed(segments))


def test_a_group_meets_its_history_in_one_block() -> None:
    found = blocks(segments_of([(4, [2, 0, 3]), (2, [1])]), [(0, 12)])
    assert found == (
        Block(0, 4, 0, 4, True), Block(4, 6, 4, 6, True), Block(6, 9, 6, 9, True),
        Block(9, 11, 9, 11, True), Block(11, 12, 11, 12, True),
        Block(4, 9, 0, 4, False), Block(11, 12, 9, 11, False),
    )  # fmt: skip
    assert sum(block.pairs for block in found) == 10 + 3 + 6 + 3 + 1 + 20 + 2


def test_zigzag_gives_every_rank_a_cheap_and_a_dear_half() -> None:
    assert zigzag(8, 0, 1) == ((0, 8),)
    assert zigzag(8, 0, 2) == ((0, 2), (6, 8))
    assert zigzag(8, 1, 2) == ((2, 4), (4, 6))
    work = [sum(b.pairs for b in blocks([Segment(0, 64)], zigzag(64, rank, 4))) for rank in range(4)]
    assert max(work) - min(work) <= 64
    with pytest.raises(ValueError, match="10 rows do not divide into 4 chunks"):
        zigzag(10, 0, 2)
