"""Lightning callbacks of a run: checkpoints on disk, and one line a step on the terminal."""

import shutil
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from pivot import ranks
from pivot.policy import CheckpointError, verify


class Checkpoints(pl.Callback):
    """Saves every `every` steps and at the end; keeps the newest `keep`.

    A checkpoint appears under its name only when it is whole (the policy writes it aside and renames it), and older
    ones go after that, so a kill at any instant leaves one to resume from.
    """

    def __init__(self, directory: Path, *, every: int, keep: int, last: int) -> None:
        self._directory = directory
        self._every = every
        self._keep = keep
        self._last = last

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if step % self._every == 0 or step == self._last:
            trainer.save_checkpoint(self._directory / f"step-{step:06d}")
            if trainer.is_global_zero:
                for old in complete(self._directory)[: -self._keep]:
                    shutil.rmtree(old)


class StepLine(pl.Callback):
    """One line a step: how far, the reward, the split of the groups, the probe, the seconds."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            seconds = sum(value for name, value in seen.items() if name.startswith("seconds/"))
            print(
                f"step {trainer.global_step:4d}/{self._steps}  reward {seen['reward_mean']:.3f}"
                f"  all-0 {seen['groups/all0']:.0%} mixed {seen['groups/mixed']:.0%} all-1 {seen['groups/all1']:.0%}"
                f"  grad {seen['grad_norm']:.3f}  gap {seen.get('probe_gap_max', float('nan')):.1e}"
                f"  {seconds:.1f} s",
                flush=True,
            )

    def on_validation_end(self, trainer: pl.Trainer, _: pl.LightningModule) -> None:
        reward = trainer.callback_metrics.get("validation/reward_mean")
        if trainer.is_global_zero and reward is not None:
            print(f"  held-out trajectories: reward {float(reward):.3f}", flush=True)


class LossLine(pl.Callback):
    """One line every hundredth of a supervised run: loss, gradient norm, seconds so far and still to go."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._every = max(1, steps // 100)
        self._start = time.perf_counter()
        self._first: int | None = None

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        if self._first is None:
            self._first, self._start = step, time.perf_counter()
        if trainer.is_global_zero and step > self._first and (step % self._every == 0 or step == self._steps):
            seconds = time.perf_counter() - self._start
            left = seconds / (step - self._first) * (self._steps - step)
            seen = trainer.callback_metrics
            print(
                f"step {step:5d}/{self._steps}  loss {float(seen['loss']):.4f}  grad {float(seen['grad_norm']):.2f}"
                f"  {seconds:.0f} s, {left:.0f} s to go",
                flush=True,
            )


def complete(directory: Path) -> list[Path]:
    """Checkpoints that have their final name, oldest first."""
    return sorted(path for path in directory.glob("step-*") if path.is_dir() and path.name[5:].isdigit())


def newest(directory: Path) -> Path | None:
    """The newest checkpoint whose files match their manifest, chosen by rank 0 for all; damaged ones are named."""
    found: Path | None = None
    if ranks.rank() == 0:
        for path in reversed(complete(directory)):
            try:
                verify(path)
            except CheckpointError as error:
                print(f"skipping a damaged checkpoint: {error}", flush=True)
                continue
            found = path
            break
    return ranks.from_first(found)
