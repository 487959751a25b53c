"""Lightning callbacks of a run: checkpoints on disk, and one line a step on the terminal."""

import time
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl

from pivot.train.retention import best_step, prune, write_score

DRAIN = 60.0  # seconds that a program which ends on an error gives a running save


class Saving(Protocol):
    """What `Checkpoints` needs of a policy."""

    def finish_save(self, *, wait: bool = True) -> bool: ...
    def drain_save(self, seconds: float) -> None: ...


class Checkpoints(pl.Callback):
    """Saves every `every` steps and at the end; keeps the newest `keep` and the best.

    A checkpoint appears under its name only when it is whole (the policy writes it aside and renames it), and others
    go after that, so a kill at any instant leaves one to resume from. When the policy writes in the background, a
    save that failed ends the run at the next step, with its reason; a new save and the end of training wait for it.

    The score of a checkpoint is what validation measures on its very weights, if its step validates; of a metric that
    is not `validation/…`, the newest value. `scores.json` beside the checkpoints outlives a kill.
    """

    def __init__(self, directory: Path, policy: Saving, *, every: int, keep: int, best: str | None, last: int) -> None:
        """See the class.

        Args:
            directory: of the checkpoints.
            policy: what `trainer.save_checkpoint` saves.
            every: steps between two of them.
            keep: how many of the newest to keep.
            best: metric by which one more is kept, the highest, or with a `-` before its name the lowest; None: none.
            last: the last step.
        """
        self._directory = directory
        self._policy = policy
        self._every = every
        self._keep = keep
        self._best = best
        self._last = last
        self._saved: int | None = None  # step of the newest save
        self._pending = False  # it is not known to be whole yet

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        self._settle(trainer, wait=False)
        if step % self._every and step != self._last:
            return
        self._settle(trainer, wait=True)
        trainer.save_checkpoint(self._directory / f"step-{step:06d}")
        self._saved, self._pending = step, True
        self._score(trainer, validated=False)
        self._settle(trainer, wait=False)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Lightning validates after `on_train_batch_end`, with the weights that were just saved."""
        if trainer.global_step == self._saved:
            self._score(trainer, validated=True)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._settle(trainer, wait=True)

    def on_exception(self, *_: Any) -> None:
        """The program is about to end: what is half written may still become whole."""
        self._policy.drain_save(DRAIN)

    def _settle(self, trainer: pl.Trainer, *, wait: bool) -> None:
        """Once the pending save is whole on every rank, drop what need not be kept."""
        if self._pending and self._policy.finish_save(wait=wait):
            self._pending = False
            if trainer.is_global_zero:
                prune(self._directory, self._keep, self._best)

    def _score(self, trainer: pl.Trainer, *, validated: bool) -> None:
        """On rank 0: record the score of the newest save, or that it has none yet."""
        name = (self._best or "").removeprefix("-")
        if self._best is None or self._saved is None or not trainer.is_global_zero:
            return
        known = name in trainer.callback_metrics and name.startswith("validation/") == validated
        value = float(trainer.callback_metrics[name]) if known else None
        write_score(self._directory, self._best, self._saved, value)
        if known and best_step(self._directory, self._best, self._saved) == self._saved:
            print(f"  best so far by {name}: {value:.4f} at step {self._saved}", flush=True)


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
