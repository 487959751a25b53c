"""What a step logs is in that step's row, and in no other."""

import csv
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader

from pivot.train.logs import OwnNumbers, loggers


class Module(pl.LightningModule):
    """Logs the loss in every step, and the number of the step under a name of its own in all but step 1."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def training_step(self, batch: torch.Tensor, index: int) -> None:
        self.optimizers().step()
        self.log_dict({"loss": 1.0} | ({"sometimes": float(index)} if index != 1 else {}))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_row_repeats_nothing_of_the_step_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 0)  # Lightning keeps what another test has made of it
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=3, logger=loggers([], tmp_path), callbacks=[OwnNumbers()], log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(torch.zeros(3)))
    with (tmp_path / "csv/attempt_0/metrics.csv").open() as file:
        rows = [(row["step"], row["loss"], row["sometimes"]) for row in csv.DictReader(file)]
    assert rows == [("0", "1.0", "0.0"), ("1", "1.0", ""), ("2", "1.0", "2.0")]
