"""The state between two steps is what Lightning would save there; where Lightning finds its ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy

from pivot.train.assemble import cluster
from pivot.train.boundary import Boundary, boundary
from pivot.train.strategy import KEPT, MegatronStrategy, PolicyOptimizer


class Policy:
    """Counts how often its random state is asked for."""

    asked = 0

    def random_state(self) -> bytes:
        self.asked += 1
        return str(self.asked).encode()


class Loader:
    """Stateful, as the programs' own."""

    next = 0

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        while self.next < 4:
            self.next += 1
            yield torch.zeros(1)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.next = state["next"]


class Module(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizers().step()

    def configure_optimizers(self) -> Any:
        return PolicyOptimizer()


class Spy(SingleDeviceStrategy):
    """Keeps what Lightning would write."""

    written: Any = None

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        self.written = {key: checkpoint[key] for key in KEPT}, storage_options


class Remembering(pl.Callback):
    def __init__(self) -> None:
        self.policy = Policy()
        self.pairs: list[tuple[Any, Boundary, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        return {"steps": len(self.pairs)}

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        state = boundary(trainer, self.policy)
        trainer.save_checkpoint("nowhere", storage_options=state)
        assert isinstance(trainer.strategy, Spy)
        self.pairs.append((json.loads(json.dumps(trainer.strategy.written[0])), state, trainer.strategy.written[1]))


def test_it_is_lightnings_own_state_at_the_end_of_every_step(tmp_path: Path) -> None:
    callback = Remembering()
    trainer = pl.Trainer(
        strategy=Spy("cpu"), max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(Module(), Loader())
    assert [state.step for _, state, _ in callback.pairs] == [1, 2, 3]
    assert [state.random for _, state, _ in callback.pairs] == [b"1", b"2", b"3"]
    for expected, state, passed_on in callback.pairs:
        assert state.kept == expected
        assert passed_on is state
    assert "'next': 2" in str(callback.pairs[1][1].kept)  # it stays what it was while training went on


def test_slurms_variables_are_not_lightnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes of two ranks under torchrun, inside of a Slurm job."""
    slurm = {"JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "2", "NTASKS_PER_NODE": "1", "PROCID": "1", "LOCALID": "0",
             "NODEID": "1", "JOB_NODELIST": "node[1-2]"}  # fmt: skip
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert SLURMEnvironment.detect()
    assert isinstance(cluster({}), LightningEnvironment)
    torchrun = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1"}
    for name, value in torchrun.items():
        monkeypatch.setenv(name, value)
    strategy: Any = MegatronStrategy(None)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        accelerator="cpu", strategy=strategy, plugins=[cluster()], devices=2, num_nodes=2, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, use_distributed_sampler=False,
    )  # fmt: skip
    assert type(strategy.cluster_environment) is TorchElasticEnvironment
    assert (trainer.world_size, trainer.global_rank, trainer.local_rank, trainer.node_rank) == (4, 3, 1, 1)
    trainer._signal_connector.register_signal_handlers()
    try:
        import signal

        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    finally:
        trainer._signal_connector.teardown()
