"""Success rates as people read them: percent, interval, counts."""

from dataclasses import dataclass

from pivot.report.data import Evaluation
from pivot.report.intervals import difference, wilson


@dataclass(frozen=True, slots=True)
class RateRow:
    """One line of an evaluation table; `style` is "up" or "down" when the gain's interval leaves out zero."""

    name: str
    base: str
    trained: str
    gain: str
    style: str


def rate_row(name: str, evaluation: Evaluation) -> RateRow:
    """Rates of base and trained policy and their difference in points, with 95 % intervals."""
    base, trained = evaluation.base, evaluation.trained
    if base[1] == 0 or trained[1] == 0:
        return RateRow(name, "not run", "not run", "", "")
    gain, low, high = difference(*base, *trained)
    style = "up" if low > 0 else "down" if high < 0 else ""
    return RateRow(name, percent(*base), percent(*trained), f"{points(gain)} ({points(low)} to {points(high)})", style)


def percent(successes: int, n: int) -> str:
    """For example "57.6 % (52.2 to 62.8), 190/330"."""
    low, high = wilson(successes, n)
    return f"{100 * successes / n:.1f} % ({100 * low:.1f} to {100 * high:.1f}), {successes}/{n}"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed."""
    return f"{100 * value:+.1f}"
