"""What the launcher does with signals, and what it says about ranks that failed."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pivot.attempt.directory import Attempt, Failure
from pivot.launch import failed, stopping


def test_one_signal_asks_to_stop_and_a_second_one_to_end_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt, before = Attempt(tmp_path), signal.getsignal(signal.SIGTERM)
    with stopping(attempt):
        os.kill(os.getpid(), signal.SIGUSR1)
        assert attempt.stop_reason() == "USR1"
        assert not attempt.aborted()
        os.kill(os.getpid(), signal.SIGTERM)
        assert attempt.aborted()
        assert attempt.stop_reason() == "USR1"
    assert signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err == "pivot: USR1: saving, then ending; once more to end at once\n"


def test_a_first_signal_while_the_run_stops_by_itself_is_no_abort(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    attempt.request_stop("time limit")
    with stopping(attempt):
        os.kill(os.getpid(), signal.SIGTERM)
    assert not attempt.aborted()
    assert attempt.stop_reason() == "time limit"


def error(rank: int, exitcode: int) -> Any:
    """As torchrun reports it: in whole seconds, when it has noticed."""
    first = SimpleNamespace(exitcode=exitcode, timestamp=int(time.time()))
    return SimpleNamespace(get_first_failure=lambda: (rank, first))


def test_a_killed_rank_is_the_first_failure_before_those_that_lost_it(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    found = error(1, -9)
    attempt.write_failure(Failure(0, "node", time.time() + 1, "RuntimeError: Connection closed by peer"))
    said = failed(attempt, found)
    assert said.status == -9
    assert "killed: it ended without a word (if nobody did it, memory ran out" in str(said)
    assert str(said).startswith("rank 1 on ")
    assert [failure.rank for failure in attempt.failures()] == [1, 0]


def test_a_rank_that_has_said_why_is_quoted(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    attempt.write_failure(Failure(1, "node", 5.0, "ValueError: no"))
    said = failed(attempt, error(1, 1))
    assert (said.status, str(said)) == (1, "rank 1 on node: ValueError: no")


def test_an_abort_is_nobodys_failure(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    attempt.request_abort()
    assert str(failed(attempt, error(0, 1))) == "asked to end at once: nothing was saved"
