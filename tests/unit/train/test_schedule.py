"""Learning rates: exact values at every corner of the schedules."""

import pytest

from pivot.train.schedule import Schedule


def rates(kind: str, *, lr: float = 1.0, warmup: int = 0, steps: int = 5, floor: float = 0.0) -> list[float]:
    schedule = Schedule(kind, lr, warmup, steps, floor)
    return [schedule.rate(step) for step in range(steps + 1)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kind": "constant"}, [1.0] * 6),
        ({"kind": "constant", "lr": 2.0, "warmup": 4}, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]),
        ({"kind": "constant", "warmup": 1, "floor": 0.5}, [1.0] * 6),
        ({"kind": "cosine"}, [1.0, 0.8535534, 0.5, 0.1464466, 0.0, 0.0]),
        ({"kind": "cosine", "floor": 0.5}, [1.0, 0.9267767, 0.75, 0.5732233, 0.5, 0.5]),
        ({"kind": "cosine", "lr": 2.0, "warmup": 2, "floor": 0.1}, [1.0, 2.0, 2.0, 1.1, 0.2, 0.2]),
        ({"kind": "cosine", "warmup": 5}, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0]),
        ({"kind": "cosine", "warmup": 8}, [0.125, 0.25, 0.375, 0.5, 0.625, 0.75]),
        ({"kind": "cosine", "steps": 1}, [1.0, 0.0]),
    ],
)
def test_rates_of_every_step_and_the_one_after_the_last(options: dict[str, float], expected: list[float]) -> None:
    assert rates(**options) == pytest.approx(expected, abs=1e-7)  # type: ignore[arg-type]


def test_a_schedule_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="schedule 'linear' is not one of constant, cosine"):
        Schedule("linear", 1.0, 0, 1, 0.0)
