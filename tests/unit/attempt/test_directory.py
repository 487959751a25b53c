"""The files of an attempt: whole, in order, and the first word stays."""

import json
from pathlib import Path

import pytest

from pivot.attempt.directory import DONE, Attempt, Failure, Outcome, from_environment, make
from pivot.errors import UserError


def test_attempts_are_numbered_and_never_shared(tmp_path: Path) -> None:
    assert [make(tmp_path).directory.name for _ in range(3)] == ["001", "002", "003"]
    (tmp_path / "attempts" / "017").mkdir()
    (tmp_path / "attempts" / "notes").mkdir()
    assert make(tmp_path).directory == tmp_path / "attempts" / "018"


def test_the_first_reason_to_stop_stays(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    assert attempt.stop_reason() is None
    assert not attempt.aborted()
    attempt.request_stop("USR1")
    attempt.request_stop("TERM")
    assert attempt.stop_reason() == "USR1"
    attempt.request_abort()
    assert attempt.aborted()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["abort", "stop"]


@pytest.mark.parametrize(
    ("text", "reason"), [("", "asked to"), ("time limit\n", "time limit"), ("two\nlines", "two lines")]
)
def test_a_stop_file_by_any_hand(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "stop").write_text(text)
    assert Attempt(tmp_path).stop_reason() == reason


def test_outcome(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    assert attempt.outcome() is None
    attempt.write_outcome(Outcome(DONE, 7, "nothing is left to do"))
    assert json.loads((tmp_path / "outcome.json").read_text()) == {
        "outcome": "done", "step": 7, "reason": "nothing is left to do",
    }  # fmt: skip
    assert attempt.outcome() == Outcome("done", 7, "nothing is left to do")


def test_the_first_failure_is_the_jobs_and_a_rank_fails_once(tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    assert attempt.failures() == []
    attempt.write_failure(Failure(3, "b", 20.0, "lost rank 1"))
    attempt.write_failure(Failure(1, "a", 10.5, "killed"))
    attempt.write_failure(Failure(1, "a", 1.0, "again"))
    assert [(failure.rank, failure.reason) for failure in attempt.failures()] == [(1, "killed"), (3, "lost rank 1")]
    assert json.loads((tmp_path / "failures" / "00001.json").read_text()) == {
        "rank": 1, "node": "a", "time": 10.5, "reason": "killed",
    }  # fmt: skip
    assert Failure.here(0, "two\n  lines").reason == "two lines"


def test_the_variable_that_names_it(tmp_path: Path) -> None:
    assert from_environment({}) is None
    assert from_environment({"PIVOT_ATTEMPT_DIR": str(tmp_path)}) == Attempt(tmp_path)
    with pytest.raises(UserError, match=r"no such directory on .*; put run.dir on a file system that all nodes share"):
        from_environment({"PIVOT_ATTEMPT_DIR": str(tmp_path / "elsewhere")})
