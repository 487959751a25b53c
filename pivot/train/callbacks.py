"""Lightning callbacks of a run: checkpoints on disk, and one line a step on the terminal."""

import time
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl

from pivot.attempt.running import Stopped
from pivot.attempt.timing import Timing
from pivot.train.boundary import Boundary, boundary
from pivot.train.retention import best_step, prune, write_score

DRAIN = 60.0  # seconds that a program which ends on an error gives a running save


class Saving(Protocol):
    """What `Checkpoints` needs of a policy."""

    @property
    def save_seconds(self) -> float | None: ...
    def finish_save(self, *, wait: bool = True) -> bool: ...
    def drain_save(self, seconds: float) -> None: ...
    def random_state(self) -> bytes: ...


class Attempt(Protocol):
    """What callbacks need of `pivot.attempt.Running`."""

    @property
    def timing(self) -> Timing: ...
    def agree(self) -> None: ...
    def beat(self, phase: str) -> None: ...
    def keep_sigterm(self) -> None: ...


class Checkpoints(pl.Callback):
    """Saves every `every` steps and at the end; keeps the newest `keep` and the best.

    A checkpoint appears under its name only when it is whole (the policy writes it aside and renames it), and others
    go after that, so a kill at any instant leaves one to resume from. When the policy writes in the background, a
    save that failed ends the run at the next step, with its reason; a new save and the end of training wait for it.

    A run that is asked to stop leaves a checkpoint of its last complete step, if there is none yet. A step that was
    given up leaves no trace: what is saved is the state at the end of the one before.

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
        self._complete: Boundary | None = None  # the state of the last complete step of this attempt

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        self._settle(trainer, wait=False)
        self._complete = boundary(trainer, self._policy)
        if step % self._every and step != self._last:
            return
        self._save(trainer, self._complete)
        self._score(trainer, validated=False)
        self._settle(trainer, wait=False)

    def on_validation_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Lightning validates after `on_train_batch_end`, with the weights that were just saved."""
        if trainer.global_step == self._saved:
            self._score(trainer, validated=True)

    def on_train_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self._settle(trainer, wait=True)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """The program is about to end: what is half written may still become whole."""
        if not isinstance(exception, Stopped):
            self._policy.drain_save(DRAIN)
            return
        if self._complete is not None and self._complete.step != self._saved:
            self._save(trainer, self._complete)
        self._settle(trainer, wait=True)
        exception.step = trainer.global_step

    def _save(self, trainer: pl.Trainer, state: Boundary) -> None:
        self._settle(trainer, wait=True)
        trainer.save_checkpoint(self._directory / f"step-{state.step:06d}", storage_options=state)
        self._saved, self._pending = state.step, True

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


class Stops(pl.Callback):
    """Between steps and before validations: whether to stop; how long steps and saves take; what the program does."""

    def __init__(self, attempt: Attempt, policy: Saving) -> None:
        self._attempt = attempt
        self._policy = policy
        self._start = 0.0

    def on_train_start(self, *_: Any) -> None:
        self._attempt.keep_sigterm()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._attempt.agree()
        self._attempt.beat("train")
        self._start = time.perf_counter()
        # Lightning counts one step less for its loggers whenever it resumes from a checkpoint of within a step
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step

    def on_train_batch_end(self, *_: Any) -> None:
        self._attempt.timing.stepped(time.perf_counter() - self._start)
        if self._policy.save_seconds is not None:
            self._attempt.timing.saved(self._policy.save_seconds)

    def on_validation_start(self, *_: Any) -> None:
        self._attempt.agree()
        self._attempt.beat("validate")


class StepLine(pl.Callback):
    """One line a step: how far, the reward, the split of the groups, the gap of engine and policy, the seconds."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            gap = seen["logprob_gap_max"] if seen["trained_tokens"] else float("nan")  # Lightning keeps old values
            seconds = sum(value for name, value in seen.items() if name.startswith("seconds/"))
            print(
                f"step {trainer.global_step:4d}/{self._steps}  reward {seen['reward_mean']:.3f}"
                f"  all-0 {seen['groups/all0']:.0%} mixed {seen['groups/mixed']:.0%} all-1 {seen['groups/all1']:.0%}"
                f"  grad {seen['grad_norm']:.3f}  gap {gap:.1e}  {seconds:.1f} s",
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
