"""Which actions go into which micro-batch of which data-parallel rank: units of work, levelled by cost."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """Actions that are forwarded together behind one history.

    Attributes:
        actions: Their indices.
        rows: Input tokens: the history once, and of each action all but the last, which is only a target.
        pairs: Queries times keys of causal attention, twice over.
    """

    actions: tuple[int, ...]
    rows: int
    pairs: int

    def cost(self, pair_cost: float) -> float:
        """Work in units of what one token costs outside attention."""
        return self.rows + pair_cost * self.pairs / 2


def unit(actions: Sequence[int], history: int, lengths: Sequence[int]) -> Unit:
    """The unit of some actions, given the length of their history and of each of them."""
    rows = [length - 1 for length in lengths]
    pairs = history * history + sum(row * (2 * history + row) for row in rows)
    return Unit(tuple(actions), history + sum(rows), pairs)


def units(
    histories: Sequence[int], lengths: Sequence[int], groups: Sequence[int], budget: int, shared: bool
) -> Iterator[Unit]:
    """Cut actions into units: a group each, or an action each where prefixes are not shared.

    Args:
        histories: Tokens of each action's history.
        lengths: Tokens of each action.
        groups: The number of each action's group; a group's actions stand together.
        budget: Tokens wanted in a micro-batch; a group that has more is forwarded in several units.
        shared: Whether a history is forwarded once for several actions.
    """
    start = 0
    for stop in range(1, len(groups) + 1):
        used = histories[start] + sum(lengths[start:stop]) - (stop - start)
        ends = stop == len(groups) or not shared or groups[stop] != groups[start]
        if ends or used + lengths[stop] - 1 > budget:
            yield unit(range(start, stop), histories[start], lengths[start:stop])
            start = stop


def plan(costs: Sequence[float], rows: Sequence[int], ranks: int, budget: int) -> list[list[list[int]]]:
    """Spread pieces of work over `ranks` data-parallel ranks in the same number of micro-batches each.

    Dearest first into the bin with the least cost that has room (longest-processing-time rule), or, when none has, into
    the one with the fewest tokens. Ties go to the lower bin, so every rank computes the same plan.

    Args:
        costs: Work of each piece, in any unit: what ranks are levelled by.
        rows: Tokens of each piece: what a micro-batch's memory follows.
        ranks: Data-parallel size.
        budget: Tokens wanted in a micro-batch.

    Returns:
        [ranks][micro-batches][pieces], ascending in a bin. Bins are empty only where there are fewer pieces than ranks;
        the policy takes an empty micro-batch.
    """
    count = max(1, min(math.ceil(sum(rows) / (ranks * budget)), len(rows) // ranks))
    bins: list[list[int]] = [[] for _ in range(ranks * count)]
    load, size = [0.0] * len(bins), [0] * len(bins)
    for piece in sorted(range(len(rows)), key=lambda i: (-costs[i], i)):
        room = [b for b in range(len(bins)) if size[b] + rows[piece] <= budget or not bins[b]]
        target = min(room, key=lambda b: (load[b], b)) if room else min(range(len(bins)), key=lambda b: (size[b], b))
        bins[target].append(piece)
        load[target] += costs[piece]
        size[target] += rows[piece]
    return [[sorted(bins[rank * count + micro]) for micro in range(count)] for rank in range(ranks)]
