"""The order of pivots: a pure function of seed and step, restored exactly."""

from typing import Any

import pytest

from pivot.train.loader import PivotLoader


def loader(steps: int = 7) -> PivotLoader:
    turns: Any = list("abcde")
    return PivotLoader(turns, batch=2, steps=steps, seed=3)


def test_every_epoch_holds_every_turn_once() -> None:
    seen = [turn for batch in loader(steps=5) for turn in batch]
    assert sorted(seen[:5]) == sorted(seen[5:]) == list("abcde")


def test_another_seed_gives_another_order() -> None:
    turns: Any = list(range(50))
    first, second = (PivotLoader(turns, batch=50, steps=1, seed=seed).at(0) for seed in (0, 1))
    assert sorted(first) == sorted(second) != first != second


@pytest.mark.parametrize("stop", range(7))
def test_a_restored_loader_goes_on_where_the_other_stopped(stop: int) -> None:
    whole = list(loader())
    first = iter(interrupted := loader())
    taken = [next(first) for _ in range(stop)]
    resumed = loader()
    resumed.load_state_dict(interrupted.state_dict())
    assert taken + list(resumed) == whole
