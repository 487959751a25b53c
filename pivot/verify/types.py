"""What a verifier is and says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivot.trajectory.types import Action, Tool


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reward with its reason.

    Attributes:
        reward: In [0, 1].
        reason: Short and machine-readable, `match` for full reward; what reports count.
        detail: For people: where the actions differ.
    """

    reward: float
    reason: str
    detail: str = ""


# (actual, expected, tools) -> Verdict. Pure; never raises on any actual action.
Verifier = Callable[[Action, Action, Sequence[Tool]], Verdict]

MATCH = Verdict(1.0, "match")
_LONGEST_KEY = 40


def reject(reason: str, key: str | None = None, detail: str = "") -> Verdict:
    """A zero. `key` is cut and cleaned, for it may come from a model."""
    if key is not None:
        shown = "".join(char if char.isprintable() and char != ":" else "?" for char in key[:_LONGEST_KEY])
        reason = f"{reason}:{shown}"
    return Verdict(0.0, reason, detail)
