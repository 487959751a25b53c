"""Helpers of tests that stop training: a small run, started as a user would, and what it left."""

import csv
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import torch
from safetensors.torch import load_file

from pivot.attempt.directory import Attempt
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories
from tests.system.running import ROOT, command

STEPS = 6
PATIENCE = 300.0  # seconds for anything that a test waits for
SECONDS = re.compile(r"seconds|tokens_per_second|memory/")  # metrics that no two runs share


def candidates(folder: Path) -> Path:
    """Some candidates of the embedded world; training takes them as pivots."""
    write_trajectories(expert_trajectories(12, 0, "train"), folder / "trajectories.jsonl")
    convert([folder / "trajectories.jsonl"], folder / "data")
    return folder / "data" / "candidates.jsonl"


def arguments(pivots: Path, run: Path, *more: str) -> list[str]:
    """A training of some steps of about a second, with every phase that a stop can meet."""
    return [
        "train", f"data.pivots={pivots}", f"data.validation={pivots}", f"run.dir={run}", "verify.name=functional",
        f"train.steps={STEPS}", "train.prompts_per_step=8", "train.group_size=6", "train.validate_every=4",
        "train.validation_pivots=4", "train.validation_samples=2", "train.checkpoint_every=2", "train.kl_every=0",
        "optimizer.lr=1e-3", "rollout.max_model_len=768", "rollout.max_tokens=48", "rollout.kv_cache_mb=32",
        "parallel.ranks=2", "parallel.tensor=2", "parallel.expert=2", *more,
    ]  # fmt: skip


class Program:
    """A started `pivot`, whose output is read as it comes."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, **(environment or {})}, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.lines.append(line.rstrip("\n"))

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until it holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, f"it ended before {what}:\n{self.said}"
            assert time.monotonic() < deadline, f"never {what}:\n{self.said}"
            time.sleep(0.01)

    def says(self, text: str) -> None:
        """Until a line starts so."""
        self.wait(lambda: any(line.startswith(text) for line in self.lines), f"it said {text!r}")

    def end(self, patience: float = PATIENCE) -> int:
        """Its status, when it is over."""
        status = self.process.wait(patience)
        self._reader.join(PATIENCE)
        return status


def attempts(run: Path) -> list[Attempt]:
    """In order."""
    return [Attempt(path) for path in sorted((run / "attempts").iterdir())]


def metrics(run: Path) -> dict[int, dict[str, str]]:
    """The training rows of all attempts by step; rows of a step that was done twice have to be the same.

    Numbers that measure time are left out, and those of the swap and the probe, which a step that is the last of its
    attempt leaves out.
    """
    found: dict[int, dict[str, str]] = {}
    for path in sorted(run.glob("logs/csv/attempt_*/metrics.csv"), key=lambda path: int(path.parent.name[8:])):
        with path.open() as file:
            for row in csv.DictReader(file):
                if not row.get("loss"):
                    continue
                kept = {key: value for key, value in row.items()
                        if value and not SECONDS.search(key) and not key.startswith(("probe", "swap"))}  # fmt: skip
                assert found.setdefault(int(row["step"]), kept) == kept
    return found


def differing(ours: Path, theirs: Path) -> list[str]:
    """Names of tensors of two Hugging Face checkpoints that are not the same to the last bit."""
    one, other = (load_file(path / "hf" / "model.safetensors") for path in (ours, theirs))
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def shared_memory() -> set[str]:
    """What programs have left in /dev/shm."""
    return {path.name for path in Path("/dev/shm").iterdir()}
