"""Helpers of the system tests: run `pivot` as a user would, in its own process group."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# A demo that is small in every direction; the same in every test, so that two of them can be compared.
SMALL = [
    "data.limit=160",
    "mine.wave=8",
    "train.steps=4",
    "train.checkpoint_every=1",
    "train.validate_every=4",
    "train.validation_pivots=8",
    "evaluate.tasks=8",
    "evaluate.questions=16",
    "evaluate.seeds=[0,1]",
]


def pivot(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run to the end, output captured."""
    return subprocess.run(command(*arguments), cwd=cwd, text=True, capture_output=True, timeout=900, check=False)


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pivot.cli", *map(str, arguments)]


def kill_when(ready: Callable[[], bool], *arguments: str | Path) -> None:
    """Start `pivot`, SIGKILL it as soon as `ready`, and wait until its ranks are gone with it."""
    process = subprocess.Popen(
        command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while not ready():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "it never came to the point where it was to be killed"
        time.sleep(0.02)
    ranks = children(process.pid)
    os.kill(process.pid, signal.SIGKILL)  # only the launcher: the ranks must follow by themselves
    process.wait()
    while any(Path(f"/proc/{rank}").exists() and not zombie(rank) for rank in ranks):
        assert time.monotonic() < deadline, "ranks outlived their launcher"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True
