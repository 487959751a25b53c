"""The plan of micro-batches: complete, level, and the same number for every rank."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.policy.segments import Segment, blocks
from pivot.train.packing import plan, unit, units


def test_dearest_go_first_into_the_cheapest_bin_that_has_room() -> None:
    assert plan([10, 30, 20, 40], [10, 30, 20, 40], ranks=2, budget=50) == [[[0, 3]], [[1, 2]]]
    # the long history is dear, not large: ranks are levelled by what it costs
    assert plan([90, 30, 30, 30], [30, 30, 30, 30], ranks=2, budget=100) == [[[0]], [[1, 2, 3]]]
    # no room behind the cheap one: tokens decide
    assert plan([5, 4, 4], [50, 90, 10], ranks=2, budget=100) == [[[0]], [[1, 2]]]


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    ranks=st.integers(1, 5),
    budget=st.integers(1, 2000),
)
def test_every_piece_once_and_no_bin_empty_without_need(lengths: list[int], ranks: int, budget: int) -> None:
    bins = plan(lengths, lengths, ranks, budget)
    assert len(bins) == ranks
    assert len({len(of_rank) for of_rank in bins}) == 1
    flat = [index for of_rank in bins for micro in of_rank for index in micro]
    assert sorted(flat) == list(range(len(lengths)))
    loads = [sum(lengths[i] for i in micro) for of_rank in bins for micro in of_rank]
    assert (min(loads) > 0) == (len(lengths) >= ranks)
    assert max(loads) <= max(budget, 2 * max(lengths), max(lengths) + sum(lengths) / len(loads))


@given(history=st.integers(1, 9), lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_a_unit_counts_the_rows_and_pairs_of_its_pack(history: int, lengths: list[int]) -> None:
    segments, offset = [Segment(0, history)], history
    for length in lengths:
        if length > 1:
            segments.append(Segment(offset, offset + length - 1, (0, history)))
            offset += length - 1
    one = unit(range(len(lengths)), history, lengths)
    pairs = sum(block.pairs for block in blocks(segments, [(0, offset)]))
    assert one.rows == offset
    assert one.pairs / 2 == pytest.approx(pairs - offset / 2)  # a causal square is counted without half its diagonal
    assert one.cost(0.0) == offset
    assert one.cost(0.1) == pytest.approx(offset + 0.1 * one.pairs / 2)


def test_a_group_is_a_unit_unless_it_has_more_tokens_than_the_budget() -> None:
    arguments = [100, 100, 100, 7, 7], [11, 21, 31, 3, 3], [4, 4, 4, 9, 9]
    assert [u.actions for u in units(*arguments, budget=1000, shared=True)] == [(0, 1, 2), (3, 4)]
    assert [u.rows for u in units(*arguments, budget=1000, shared=True)] == [160, 11]
    assert [u.actions for u in units(*arguments, budget=130, shared=True)] == [(0, 1), (2,), (3, 4)]
    assert [u.actions for u in units(*arguments, budget=5, shared=True)] == [(0,), (1,), (2,), (3,), (4,)]
    assert [u.actions for u in units(*arguments, budget=1000, shared=False)] == [(0,), (1,), (2,), (3,), (4,)]
    assert list(units([], [], [], budget=10, shared=True)) == []
