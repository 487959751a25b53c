"""`pivot doctor` on this machine: fit for a small run, and red, never a crash, where a library is missing."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pivot.ops.doctor.row import Row
from pivot.ops.doctor.smoke import run_smoke
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories
from tests.system.running import ROOT, command
from tests.unit.ops.doctor.blocked import python_path_without


@pytest.fixture(scope="module")
def pivots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows to train on."""
    out = tmp_path_factory.mktemp("doctor")
    write_trajectories(expert_trajectories(4, 0, "train"), out / "t.jsonl")
    convert([out / "t.jsonl"], out)
    return out / "candidates.jsonl"


def doctor(*arguments: str | Path, **variables: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Status, the JSON, and its rows by name."""
    done = subprocess.run(
        command("doctor", "--json", *arguments), cwd=ROOT, text=True, capture_output=True, timeout=900, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    said = json.loads(done.stdout)
    return done.returncode, said, {row["name"]: row for row in said["rows"]}


def test_this_machine_with_the_smoke(pivots: Path, tmp_path: Path) -> None:
    """Two ranks, tensor 2 and expert 2, as the demo has them."""
    status, said, rows = doctor("--config", "demo", f"data.pivots={pivots}", f"run.dir={tmp_path / 'run'}")
    assert [row for row in said["rows"] if row["status"] == "red"] == []
    assert (status, said["fit"], said["program"], said["schema"]) == (0, True, "train", 1)
    assert rows["smoke.train"]["status"] == "green"
    assert rows["smoke.train"]["found"].startswith("2 ranks in ")
    assert rows["model.layout"]["found"] == "can be cut so: 4 layers, 4 heads, 8 experts"
    assert rows["data.prompts"]["status"] == "green"
    assert rows["prompt.tool-parser"]["found"] == "hermes"
    assert rows["devices.fp8"]["status"] == "grey"
    assert rows["known-bad.none"]["status"] == "green"
    assert all(row["fix"] for row in said["rows"] if row["status"] in ("yellow", "red"))
    assert sum(said["counts"].values()) == len(said["rows"]) == len(rows)
    assert not (tmp_path / "run").exists()
    assert list(tmp_path.iterdir()) == []


def test_missing_libraries_are_rows(pivots: Path, tmp_path: Path) -> None:
    (tmp_path / "block").mkdir()
    path = python_path_without(tmp_path / "block", "torch", "vllm", "megatron", "nemo", "lightning", "transformers")
    status, said, rows = doctor("--config", "demo", f"data.pivots={pivots}", f"run.dir={tmp_path}",
                                "rollout.tensor=4", PYTHONPATH=path)  # fmt: skip
    assert (status, said["fit"]) == (1, False)
    red = {row["name"] for row in said["rows"] if row["status"] == "red"}
    assert red == {f"import.{name}" for name in ("torch", "policy", "tokenizer", "engine", "loop")} | {"layout.engine"}
    assert "No module named 'torch'" in rows["import.torch"]["found"]
    assert rows["smoke.train"]["status"] == "grey"
    assert rows["devices.count"]["status"] == "grey"
    assert rows["model.weights"]["status"] == "green"
    assert rows["data.rows"]["status"] == "green"


def test_a_smoke_that_fails_says_why_and_keeps_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert run_smoke(tmp_path, ["model.path=none"], 300.0) == Row.red(
        "smoke.train",
        "pivot train: model.path=none: no such directory; set model.path to a Hugging Face checkpoint",
        f"read {log}, and the red rows above first",
    )
    assert "$ pivot train" in log.read_text()
    found = run_smoke(tmp_path, [], 0.01)
    assert found is not None
    assert found.found == "pivot world: no end after 0 s"


def test_a_wrong_key_is_a_mistake_of_usage() -> None:
    done = subprocess.run(command("doctor", "train.step=1"), cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("pivot: unknown configuration key 'train.step'; did you mean train.steps?")
