"""Learning rates as functions of the step alone, so that resume needs no scheduler state."""

import math
from dataclasses import dataclass

SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate of a whole run.

    Attributes:
        kind: "constant" after the warm-up, or half a "cosine".
        lr: the peak.
        warmup: steps of linear warm-up.
        steps: of the run; only the cosine needs them.
        floor: the cosine ends at this share of ``lr``.
    """

    kind: str
    lr: float
    warmup: int
    steps: int
    floor: float

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"schedule {self.kind!r} is not one of {', '.join(SCHEDULES)}")

    def rate(self, step: int) -> float:
        """The learning rate of ``step``, which counts from 0."""
        if self.kind == "constant":
            return constant(step, self.lr, self.warmup)
        return cosine(step, self.lr, self.warmup, self.steps, self.floor)


def constant(step: int, lr: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then constant: the schedule of the method's published runs."""
    return lr * min(1.0, (step + 1) / max(warmup, 1))


def cosine(step: int, lr: float, warmup: int, steps: int, floor: float) -> float:
    """Linear warm-up, then half a cosine down to `floor * lr` at the last step."""
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
