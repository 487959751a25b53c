"""Learning rates as functions of the step alone, so that resume needs no scheduler state."""

import math


def constant(step: int, lr: float, warmup: int) -> float:
    """Linear warm-up over `warmup` steps, then constant: the schedule of the method's published runs."""
    return lr * min(1.0, (step + 1) / max(warmup, 1))


def cosine(step: int, lr: float, warmup: int, steps: int, floor: float) -> float:
    """Linear warm-up, then half a cosine down to `floor * lr` at the last step."""
    if step < warmup:
        return lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - 1 - warmup)
    return lr * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
