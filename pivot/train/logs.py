"""Where a run's numbers go: TensorBoard (made by NeMo's exp_manager) and CSV, one folder an attempt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, Logger

from pivot import ranks


def loggers(made: Sequence[Logger], log_dir: Path) -> list[Logger]:
    """The loggers made so far and a CSV one; a resumed run gets a new CSV folder instead of wiping the last one."""
    attempt = ranks.from_first(len(list(log_dir.glob("csv/attempt_*"))))
    return [*made, CSVLogger(log_dir, name="csv", version=f"attempt_{attempt}", flush_logs_every_n_steps=1)]


class OwnNumbers(pl.Callback):
    """A step's row holds that step's numbers only: Lightning repeats a value until the step that logs it again."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        results = trainer._results  # no public way; the lock pins the release
        if results is not None:
            results.reset()
