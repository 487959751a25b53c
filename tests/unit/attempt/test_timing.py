"""When a run has to stop so that it is saved before its time is over."""

import pytest

from pivot.attempt.timing import Timing


def test_a_run_without_a_deadline_never_stops() -> None:
    assert not Timing(None).is_over(1e12)


def test_before_anything_is_measured() -> None:
    timing = Timing(1000.0)
    assert timing.margin == 10 + 2 * 20
    assert not timing.is_over(949.0)
    assert timing.is_over(951.0)


def test_the_longest_save_and_the_longest_of_the_newest_steps_count() -> None:
    timing = Timing(1000.0)
    timing.saved(2.0)
    timing.saved(4.0)
    timing.saved(3.0)
    for seconds in (100.0, *[6.0] * 9, 8.0):
        timing.stepped(seconds)
    assert timing.margin == pytest.approx(10 + 2 * 4 + 1.5 * 8)
