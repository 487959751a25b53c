"""Who samples what: prompts are shared out over engine replicas and their samples gathered once, in order.

All ranks of a replica get the same prompts, since they run the same engine; the first one speaks for them. Mining,
training, validation and evaluation share and gather through here.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from pivot import ranks
from pivot.rollout.placement import Placement

T = TypeVar("T")


def sampling_costs(prompt_tokens: Sequence[int], n: int, action_tokens: float) -> list[float]:
    """What sampling costs an engine, in tokens: a prompt is computed once for its `n` samples of `action_tokens`."""
    return [tokens + n * action_tokens for tokens in prompt_tokens]


def balance(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Spreads items over `parts` so that the costliest part is cheap: the costliest item first, to the cheapest part.

    No part costs more than 4/3 - 1/(3 parts) times the least possible largest one (Graham 1969). The result depends on
    the arguments alone: of equal items the first comes first, of equal parts the first takes it.

    Args:
        costs: Of each item, not negative.
        parts: How many there are to be.

    Returns:
        The indices of each part, ascending; every index is in one part.
    """
    if parts < 1:
        raise ValueError(f"cannot share over {parts} parts")
    chosen: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0.0, 0, part) for part in range(parts)]  # of parts that cost the same the one with the fewest items
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        load, count, part = loads[0]
        chosen[part].append(index)
        heapq.heapreplace(loads, (load + costs[index], count + 1, part))
    return [sorted(part) for part in chosen]


@dataclass(frozen=True, slots=True)
class Shares:
    """Which items each replica does.

    Attributes:
        parts: Indices of the items by replica; every item is in one part.
        placement: Of this rank.
    """

    parts: Sequence[Sequence[int]]
    placement: Placement

    @classmethod
    def balanced(cls, costs: Sequence[float], placement: Placement) -> Self:
        """Shares of about equal cost."""
        return cls(balance(costs, placement.replicas), placement)

    def own(self, items: Sequence[T]) -> list[T]:
        """What this rank's replica does, in the order of the items."""
        return [items[i] for i in self.parts[self.placement.replica]]

    def gather(self, results: Sequence[T]) -> list[T]:
        """Every item's result in the order of the items, on every rank; collective.

        Args:
            results: One an item of `own`, in its order; read on the first rank of a replica only.
        """
        part = self.parts[self.placement.replica]
        pairs = once(list(zip(part, results, strict=True)) if self.placement.first else [], self.placement)
        return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]


def once(results: Sequence[T], placement: Placement) -> list[T]:
    """What the first rank of every replica has, in the order of replicas, on every rank; collective."""
    return ranks.gather(results if placement.first else [])
