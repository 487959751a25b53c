"""Attempts on real ranks: one decision for all, and a hang that every rank tells about."""

import time
from pathlib import Path

import pytest

from pivot.attempt.directory import Attempt
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("attempt_workers.py")


def test_ranks_stop_together_and_are_refused_together(tmp_path: Path) -> None:
    first, second = launch(WORKERS, "agreement", 2, folder=str(tmp_path))
    assert first["before"] is None
    assert second["before"] is None
    assert first["reason"] == second["reason"] == "USR1"
    assert first["rounds"] == second["rounds"] < 200
    assert (first["phase"], second["phase"]) == ("start", "start")  # one saw the file, the other was told
    assert first["time"] == second["time"] == "time limit"  # rank 0 looks at the clock
    assert first["refused"] == second["refused"]
    assert "is in use by process" in first["refused"]


def test_a_hang_leaves_the_stacks_of_every_rank_and_ends_the_program(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(AssertionError, match="hang on 2 ranks"):
        launch(WORKERS, "hang", 2, folder=str(tmp_path))
    assert time.monotonic() - start < 60
    attempt = Attempt(tmp_path)
    reasons = {failure.rank: failure.reason for failure in attempt.failures()}
    assert reasons[1].startswith("no progress for ")
    assert reasons[1].endswith(" s in verify")
    stacks = {rank: (tmp_path / "stacks" / f"{rank:05d}.txt").read_text() for rank in (0, 1)}
    assert all("Thread" in text and "File" in text for text in stacks.values())
    assert "in hang" in stacks[1]
    assert "in asked" in stacks[0]
