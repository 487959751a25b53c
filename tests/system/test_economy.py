"""Router replay, refill, early stop and partial reuse in real runs: they are logged, and a kill changes nothing."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pivot.demo.run import CHECKPOINT
from pivot.report.metrics import read_metrics
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories
from tests.system.running import kill_when, pivot

OPTIONS = [
    f"model.path={CHECKPOINT}",
    "train.refill=1.0",
    "train.early_stop=true",
    "train.prompts_per_step=8",
    "train.steps=4",
    "train.checkpoint_every=1",
]
VARIANTS = {"replay": ("grpo.router_replay=true",), "reuse": ("train.partial_reuse=1",)}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_kill_changes_no_bit_and_every_group_is_counted(tmp_path: Path, variant: str) -> None:
    write_trajectories(expert_trajectories(30, 0, "train"), tmp_path / "train.jsonl")
    convert([tmp_path / "train.jsonl"], tmp_path)
    data = f"data.pivots={tmp_path / 'candidates.jsonl'}"
    runs = [tmp_path / name for name in ("whole", "killed")]
    arguments = [("train", "--config", "demo", *OPTIONS, *VARIANTS[variant], data, f"run.dir={run}") for run in runs]
    done = pivot(*arguments[0])
    assert done.returncode == 0, done.stdout + done.stderr
    kill_when((runs[1] / "checkpoints" / "step-000002").is_dir, *arguments[1])
    again = pivot(*arguments[1])
    assert again.returncode == 0, again.stdout + again.stderr
    assert "resuming from" in again.stdout
    ours, theirs = (load_file(run / "hf/model.safetensors") for run in runs)
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    rows = [row for row in read_metrics(runs[0] / "logs") if "draw/groups" in row]
    assert len(rows) == 4
    for row in rows:
        assert row["draw/groups"] + row["draw/aborted"] == 16
        assert row["draw/refilled"] == 8
        assert row["draw/varied"] <= 8
        assert row["draw/wasted"] == row["draw/groups"] - 8
        if variant == "replay":
            assert row["replay/missing"] == 0
    assert sum(row["draw/tokens_aborted"] for row in rows) > 0
    if variant == "replay":
        probed = [row for row in rows if "replay/gap_max" in row]
        assert len(probed) == 2  # every second step, as the demo's recipe probes
        assert (
            max(row[name] for row in probed for name in ("replay/gap_max", "replay/gap_max_without")) < 1e-3
        )  # float32
    else:
        assert sum(row["draw/tokens_reused"] for row in rows) > 0
        for before, row in pairwise(rows):
            assert row["draw/tokens_reused"] + row["draw/tokens_expired"] <= before["draw/tokens_kept"]
            assert row["ratio_mean"] == pytest.approx(1, abs=0.05)  # of weights one step apart
