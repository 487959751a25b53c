"""What ends a program is written down, and goes on."""

from pathlib import Path

import pytest

from pivot.attempt.directory import Attempt
from pivot.attempt.running import Running
from pivot.errors import UserError
from pivot.program import Recorded


@pytest.mark.parametrize(
    ("error", "written"),
    [
        (ValueError("bad\nlines"), ["ValueError: bad"]),
        (KeyboardInterrupt(), ["KeyboardInterrupt"]),
        (SystemExit(3), ["SystemExit: 3"]),
        (UserError("said elsewhere"), []),
    ],
)
def test_an_error_is_recorded_and_not_stopped(error: BaseException, written: list[str], tmp_path: Path) -> None:
    attempt = Attempt(tmp_path)
    with pytest.raises(type(error)), Recorded(Running(attempt, hang_after=None, deadline=None)):
        raise error
    assert [failure.reason for failure in attempt.failures()] == written


def test_an_end_without_an_error_is_none(tmp_path: Path) -> None:
    with Recorded(Running(Attempt(tmp_path), hang_after=None, deadline=None)):
        pass
    assert Attempt(tmp_path).failures() == []
