"""The order of pivots: a pure function of the seed and the step, so a resumed run sees the same batches."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from pivot.mine.groups import Turn


class PivotLoader:
    """Yields `batch` turns a step for `steps` steps; every epoch is a new permutation and nothing is dropped.

    Behind a step's own turns come up to `spare` other ones, different from them and from each other: what may be drawn
    in the place of groups without variance. They are drawn at random for each step and move no epoch on.

    Stateful in Lightning's sense (`state_dict`, `load_state_dict`): the state is the next step. It has a length, so
    Lightning does not read ahead and the state is exact.
    """

    def __init__(self, turns: Sequence[Turn], *, batch: int, steps: int, seed: int, spare: int = 0) -> None:
        self._turns = turns
        self._batch = batch
        self._spare = spare
        self._steps = steps
        self._seed = seed
        self._next = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[Turn]]:
        while self._next < self._steps:
            self._next += 1
            yield self.at(self._next - 1)
        self._next = 0

    def at(self, step: int) -> list[Turn]:
        """The turns of a step: the next `batch` of an endless sequence of shuffled epochs, then the spare ones."""
        first = step * self._batch
        own = [self._order(i // len(self._turns))[i % len(self._turns)] for i in range(first, first + self._batch)]
        return [self._turns[i] for i in (*own, *self._spares(step, own))]

    def _spares(self, step: int, own: Sequence[int]) -> list[int]:
        others = sorted(set(range(len(self._turns))) - set(own)) if self._spare else []
        return random.Random(f"{self._seed}:spare:{step}").sample(others, min(self._spare, len(others)))

    def _order(self, epoch: int) -> list[int]:
        order = list(range(len(self._turns)))
        random.Random(f"{self._seed}:{epoch}").shuffle(order)
        return order

    def state_dict(self) -> dict[str, Any]:
        return {"next_step": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._next = state["next_step"]
