"""A training program on forked ranks, asked to stop in the very middle of a phase."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pivot.attempt.directory import VARIABLE, Attempt
from pivot.attempt.monitor import TICK
from pivot.attempt.running import Running

ROOT = Path(__file__).resolve().parents[2]


def program(recipe: str, arguments: list[str], attempt: str, stop: tuple[str, int] | None) -> None:
    """Runs a recipe as its launcher would.

    Args:
        recipe: `train` or `sft`.
        arguments: Overrides of the configuration.
        attempt: Directory of the attempt.
        stop: Where and at which step (from 0) rank 1 asks all to stop: see `ASK`.
    """
    os.environ[VARIABLE] = attempt
    sys.argv = [f"{recipe}.py", "hydra.run.dir=.", *arguments]
    spec = importlib.util.spec_from_file_location("recipe", ROOT / "recipes" / f"{recipe}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if stop is not None:
        where, step = stop
        ASK[where](Asker(Attempt(Path(attempt)), step))
    module.main()


class Asker:
    """Asks once, and comes back when every rank's thread has had the time to see it."""

    def __init__(self, attempt: Attempt, step: int) -> None:
        self.attempt = attempt
        self.step = step

    def __call__(self, rank: int = 1) -> None:
        if dist.get_rank() == rank:
            self.attempt.request_stop("USR1")
            time.sleep(TICK + 0.3)


def at_step_end(ask: Asker) -> None:
    """After a step of supervised training."""
    from pivot.train.callbacks import LossLine

    wrap(LossLine, "on_train_batch_end", lambda line, trainer, *_: trainer.global_step == ask.step + 1 and ask())


def in_generation(ask: Asker) -> None:
    """Between two steps of rank 1's engine, after it has generated some tokens."""
    looks = 0

    def look(running: Running) -> None:
        nonlocal looks
        looks += current["step"] == ask.step
        if looks == 5:
            ask()

    current = {"step": -1}
    from pivot.train.module import PivotModule

    wrap(PivotModule, "training_step", lambda module, *_: current.update(step=module.global_step))
    wrap(Running, "wanted", look)


def in_update(ask: Asker) -> None:
    """When the samples of a step are drawn and scored, before its update."""
    from pivot.train import module

    done = 0

    def update(*_: Any) -> None:
        nonlocal done
        if done == ask.step:
            ask()
        done += 1

    wrap(module, "update", update)


def in_validation(ask: Asker) -> None:
    """Between two steps of an engine that samples held-out turns."""
    from pivot.train.module import PivotModule

    wrap(PivotModule, "validation_step", lambda module, *_: module.global_step == ask.step + 1 and ask())


def in_save(ask: Asker) -> None:
    """While a checkpoint is written in the background, before it gets its name; training waits for that moment."""
    from pivot.policy.checkpoint_write import _Job
    from pivot.train.callbacks import Checkpoints

    def training(_: Checkpoints, trainer: Any) -> None:
        while trainer.global_step == ask.step + 1 and ask.attempt.stop_reason() is None:
            time.sleep(0.02)
        time.sleep(TICK + 0.3 if trainer.global_step == ask.step + 1 else 0)

    wrap(_Job, "_publish", lambda job, *_: job.place.final.name == f"step-{ask.step + 1:06d}" and ask(0))
    wrap(Checkpoints, "_score", training)


ASK: dict[str, Callable[[Asker], None]] = {
    "step end": at_step_end,
    "generation": in_generation,
    "update": in_update,
    "validation": in_validation,
    "save": in_save,
}


def wrap(owner: Any, name: str, before: Callable[..., Any]) -> None:
    """Calls `before` with the arguments of a method whenever that is called."""
    method = getattr(owner, name)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        before(*arguments)
        return method(*arguments, **named)

    setattr(owner, name, wrapped)
