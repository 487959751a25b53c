"""The state of a run between two steps, kept until the next one is complete: what a step that is given up goes back to.

Weights and optimizer need no copy, for a step changes them last, all at once. What it changes before that is little:
Lightning's counters, the position of the loader, and the random states of the rank.
"""

import json
from dataclasses import dataclass
from typing import Any, Protocol

import lightning.pytorch as pl


class Random(Protocol):
    """What a boundary needs of the policy."""

    def random_state(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Boundary:
    """What a checkpoint has besides weights and optimizer.

    Attributes:
        step: Steps that are complete.
        kept: Lightning's part, JSON-able: counters of the loops, the loader, the callbacks.
        random: Random states of this rank, as the policy writes them.
    """

    step: int
    kept: dict[str, Any]
    random: bytes


def boundary(trainer: pl.Trainer, policy: Random) -> Boundary:
    """The state now, which is that of a checkpoint now; call it at the end of a step."""
    loops = {
        "fit_loop": trainer.fit_loop.state_dict(),
        "validate_loop": trainer.validate_loop.state_dict(),
        "test_loop": trainer.test_loop.state_dict(),
        "predict_loop": trainer.predict_loop.state_dict(),
    }
    states = {callback.state_key: callback.state_dict() for callback in trainer.callbacks}
    kept = {
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "pytorch-lightning_version": pl.__version__,
        "loops": loops,
        "callbacks": {key: state for key, state in states.items() if state},
    }
    return Boundary(trainer.global_step, json.loads(json.dumps(kept)), policy.random_state())
