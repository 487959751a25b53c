"""What a verifier is given and what it says."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivot.trajectory.types import Action, Message, Tool

DECIDED, UNDECIDED, ERROR = "decided", "undecided", "error"


@dataclass(frozen=True, slots=True)
class Context:
    """Where the two actions were taken.

    Attributes:
        tools: Tools on offer, with their JSON schemas.
        history: The messages before the action; only a judge reads it.
        ask: The colocated engine for a judge: (question, most tokens) to its reply, None where there is no room.
    """

    tools: Sequence[Tool] = ()
    history: Sequence[Message] = ()
    ask: Callable[[str, int], str | None] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reward with its reason.

    Attributes:
        reward: In [0, 1].
        reason: Short and machine-readable, `match` for full reward; what reports count.
        detail: For people: where the actions differ.
        used: Names of the switches that relaxed equality, for example `default_is_absence`; sorted, no repeats.
        status: `decided`; `undecided`: another verifier may know better, the reward counts if none does;
            `error`: there is no verdict (an unreachable judge), the sample is left out and counted.
    """

    reward: float
    reason: str
    detail: str = ""
    used: tuple[str, ...] = ()
    status: str = DECIDED


# (actual, expected, context) -> Verdict. Pure but for a judge; never raises on any actual action.
Decide = Callable[[Action, Action, Context], Verdict]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A verifier with its settings.

    Attributes:
        name: As a person would write it: `exact`, `tool_call:gym`.
        decide: Scores one action.
        sha: 16 hex digits of its source and settings: profiles made with another are stale.
        threads: Verdicts to ask for at once; above 1 only for a judge, which waits on a network.
    """

    name: str
    decide: Decide
    sha: str
    threads: int = 1

    def __call__(self, actual: Action, expected: Action, context: Context) -> Verdict:
        """The verdict on `actual`, held against the expert's `expected`."""
        return self.decide(actual, expected, context)


MATCH = Verdict(1.0, "match")
_LONGEST_KEY = 40


def reject(reason: str, key: str | None = None, detail: str = "") -> Verdict:
    """A zero. `key` is cut and cleaned, for it may come from a model."""
    if key is not None:
        shown = "".join(char if char.isprintable() and char != ":" else "?" for char in key[:_LONGEST_KEY])
        reason = f"{reason}:{shown}"
    return Verdict(0.0, reason, detail)
