"""The whole loop on the real libraries: its files, its numbers, and that kills change nothing."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.system.running import SMALL, kill_when, pivot


def test_the_summary_holds_what_it_promises(demo: Path) -> None:
    summary = json.loads((demo / "summary.json").read_text())
    mine = summary["mine"]
    assert mine["all0"] + mine["mixed"] + mine["all1"] == mine["candidates"] > 0
    assert 0 < mine["selected"] <= mine["mixed"]
    assert summary["train"]["steps"] == 4
    assert 0 <= summary["train"]["logprob_gap_max"] < 1e-4
    assert 0 < summary["train"]["generate_and_train_share"] < 1
    for domain in ("in_domain", "ood"):
        assert 0 <= summary["eval"][domain]["base"] <= 1
        assert 0 <= summary["eval"][domain]["pivotrl"] <= 1
    assert summary["eval"]["in_domain"]["n"] == 16
    assert {"mine", "train", "evaluate", "total"} <= summary["seconds"].keys()


def test_every_pivot_obeys_the_selection_rule(demo: Path) -> None:
    rows = [json.loads(line) for line in (demo / "pivots.jsonl").read_text().splitlines()]
    for row in rows:
        profile = row["pivot"]["profile"]
        assert profile["variance"] > 0
        assert profile["mean"] < 0.95
        assert len(profile["rewards"]) == 8


def test_training_moves_the_weights_and_leaves_the_router(demo: Path) -> None:
    from pivot.demo.run import CHECKPOINT

    before, after = load_file(CHECKPOINT / "model.safetensors"), load_file(demo / "train/hf/model.safetensors")
    moved = {name for name in before if not torch.equal(before[name].float(), after[name].float())}
    assert moved
    assert {name for name in before if name not in moved} >= {name for name in before if ".mlp.gate." in name}


def test_metrics_are_logged(demo: Path) -> None:
    from pivot.report.metrics import read_metrics

    rows = read_metrics(demo / "train" / "logs")
    wanted = {"reward_mean", "reward_std", "groups/all0", "groups/mixed", "groups/all1", "grad_norm", "ratio_mean",
              "kl_to_start", "entropy", "logprob_gap_max", "tokens_per_second", "seconds/generate", "seconds/train",
              "seconds/swap", "seconds/other"}  # fmt: skip
    assert wanted <= set().union(*rows)
    assert list((demo / "train" / "logs").glob("events.out.tfevents*"))
    first = next(row for row in rows if "ratio_mean" in row)
    assert first["ratio_mean"] == pytest.approx(1.0, abs=1e-4)  # on-policy: the engine sampled with these weights


@pytest.mark.slow  # tests/parity/test_checkpoint_kills.py kills in saves, tests/parity/test_stops.py stops everywhere
def test_a_kill_in_the_middle_of_training_changes_no_bit(demo: Path, tmp_path: Path) -> None:
    """SIGKILL after the second checkpoint, then the same command to its end. (Mining: test_mine_kills.py.)"""
    from pivot.demo.run import paths

    run = tmp_path / "train"
    arguments = ("train", "--config", "demo", *SMALL, *paths(demo), f"run.dir={run}")
    kill_when((run / "checkpoints" / "step-000002").is_dir, *arguments)
    assert not (run / "hf").exists()
    done = pivot(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "resuming from" in done.stdout
    ours, theirs = load_file(run / "hf/model.safetensors"), load_file(demo / "train/hf/model.safetensors")
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_export_agrees_with_transformers(demo: Path, tmp_path: Path) -> None:
    from pivot.demo.run import CHECKPOINT

    done = pivot("export", "--config", "demo", f"model.path={CHECKPOINT}", f"run.dir={demo / 'train'}",
                 f"export.out={tmp_path / 'hf'}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest |logprob difference| to transformers" in done.stdout
    ours, theirs = load_file(tmp_path / "hf/model.safetensors"), load_file(demo / "train/hf/model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
