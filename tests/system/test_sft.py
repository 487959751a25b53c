"""Supervised training on the same policy: SFT on the expert's actions, two data-parallel ranks."""

from pathlib import Path

from pivot.demo.run import CHECKPOINT
from pivot.report.metrics import read_metrics
from tests.system.running import pivot


def test_sft_on_the_demos_candidates_lowers_their_loss(demo: Path, tmp_path: Path) -> None:
    done = pivot(
        "sft",
        "supervised.data=candidates",
        f"data.candidates={demo / 'data/train/candidates.jsonl'}",
        f"model.path={CHECKPOINT}",
        f"run.dir={tmp_path}",
        "data.limit=16",
        "supervised.steps=6",
        "optimizer.lr=1e-3",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [row["loss"] for row in read_metrics(tmp_path / "logs")]
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]
    assert (tmp_path / "hf" / "model.safetensors").is_file()
