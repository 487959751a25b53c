"""Which rows of a pack attend to which: segments, and the rectangles of attention that they come to.

A pack lays sequences end to end. A *segment* attends causally to itself; it may also attend, in full, to an earlier
segment, its *prefix*. A group of actions with a common history is one segment for the history and one for each action
with the history as its prefix: every token of the history is there once, whatever the number of actions.

Attention over a pack is the union of *blocks*, rectangles of queries by keys that are either full or causal. No query
meets a key in two of them, so the results of the blocks, each normalised by itself, merge exactly by their log-sum-exp.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows [start, stop) of a pack.

    Attributes:
        start: First row.
        stop: Row after the last.
        prefix: Rows [start, stop) of an earlier segment that all rows of this one attend to, or None.
    """

    start: int
    stop: int
    prefix: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """Queries [q_start, q_stop) attend to keys [k_start, k_stop): to all of them, or row i to the first i + 1.

    Queries are numbered among this rank's rows, keys among all rows of the pack. A causal block is a square.
    """

    q_start: int
    q_stop: int
    k_start: int
    k_stop: int
    causal: bool

    @property
    def pairs(self) -> int:
        """Queries times keys that are looked at."""
        rows, columns = self.q_stop - self.q_start, self.k_stop - self.k_start
        return rows * (rows + 1) // 2 if self.causal else rows * columns


def blocks(segments: Sequence[Segment], slices: Sequence[tuple[int, int]]) -> tuple[Block, ...]:
    """The blocks of a rank that holds the queries of some slices of a pack, and the keys of all of it.

    Args:
        segments: of the whole pack, in order, without gaps.
        slices: [start, stop) of the rows that this rank holds, in its own order; all of the pack on one rank.

    Returns:
        Causal blocks, then full ones, each kind in the order of the rank's rows. Together they cover every row.
    """
    found: list[Block] = []
    offset = 0
    for start, stop in slices:
        shift = offset - start
        for segment in segments:
            first, last = max(start, segment.start), min(stop, segment.stop)
            if first >= last:
                continue
            query = (first + shift, last + shift)
            found.append(Block(*query, first, last, causal=True))
            if first > segment.start:  # the slice begins inside the segment
                found.append(Block(*query, segment.start, first, causal=False))
            if segment.prefix is not None:
                found.append(Block(*query, *segment.prefix, causal=False))
        offset += stop - start
    causal = [block for block in found if block.causal]
    return (*causal, *_joined([block for block in found if not block.causal]))


def _joined(full: Sequence[Block]) -> Iterator[Block]:
    """Full blocks of neighbouring queries with the same keys are one: a group meets its history once."""
    current: Block | None = None
    for block in full:
        if current is not None and (current.q_stop, current.k_start, current.k_stop) == (
            block.q_start,
            block.k_start,
            block.k_stop,
        ):
            current = Block(current.q_start, block.q_stop, block.k_start, block.k_stop, causal=False)
            continue
        if current is not None:
            yield current
        current = block
    if current is not None:
        yield current


def zigzag(rows: int, rank: int, size: int) -> tuple[tuple[int, int], ...]:
    """The slices of a pack that a context-parallel rank holds: one from the front and one from the back.

    Causal attention costs more towards the end of a sequence; pairs of chunks level that.

    Args:
        rows: of the pack, a multiple of 2 x size (of 1, for one rank).
        rank: which of the ranks.
        size: how many share the pack.

    Raises:
        ValueError: the rows do not divide.
    """
    if size == 1:
        return ((0, rows),)
    chunk, left = divmod(rows, 2 * size)
    if left:
        raise ValueError(f"{rows} rows do not divide into {2 * size} chunks")
    back = 2 * size - 1 - rank
    return ((rank * chunk, (rank + 1) * chunk), (back * chunk, (back + 1) * chunk))
