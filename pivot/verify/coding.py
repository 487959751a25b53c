"""Coding agents, as in SWE-bench: would this step do what the expert's did?

Three ways to compare: `name`, the tool's name alone, as the paper did; `gym`, NeMo-Gym's; `guarded`, our default, which
does not take one edit for another because most of their characters are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pivot.trajectory.strict_json import BadJson
from pivot.trajectory.types import Action, ToolCall
from pivot.verify.coding_guarded import Guard, Guards
from pivot.verify.coding_gym import Credit, gym_reward
from pivot.verify.coding_text import NoCommand, read_command
from pivot.verify.coding_tools import Step, read_call
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

NAME, GYM, GUARDED = "name", "gym", "guarded"
# Arguments and texts beyond this are compared as they are written and no further.
_LONGEST = 200_000
_MOST_CALLS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class SweOptions(Guards):
    """Switches of `swe`; those of `Guards` are for `compare: guarded`.

    Attributes:
        compare: `name`, `gym` or `guarded`.
        text_actions: Where no tools are on offer, the last fenced block of a text is the action.
        full: `gym` only: similarity from which on the reward is 1.
        partial: `gym` only, under `continuous`: similarity from which on it is 0.5, rising to 1 at `full`.
        continuous: `gym` only: partial credit, and up to a tenth less for a long edit.
    """

    compare: str = GUARDED
    text_actions: bool = True
    full: float = 0.8
    partial: float = 0.4
    continuous: bool = False

    def __post_init__(self) -> None:
        Guards.__post_init__(self)
        self.credit()
        if self.compare not in (NAME, GYM, GUARDED):
            raise ValueError(f"compare must be {NAME}, {GYM} or {GUARDED}")

    def credit(self) -> Credit:
        """What a similarity earns under `gym`."""
        return Credit(self.full, self.partial, self.continuous)


PRESETS = {
    "paper": SweOptions(compare=NAME),
    "gym": SweOptions(compare=GYM),
    "gym_continuous": SweOptions(compare=GYM, continuous=True),
    "guarded": SweOptions(),
}


def swe(options: SweOptions) -> Decide:
    """The verifier under some options. Where the expert wrote a message it leaves the verdict to others.

    Reasons: `match`, `partial`, `malformed:why`, `kind_mismatch:message|call`, `other_message`, `no_command:why`,
    `call_count`, `too_many_calls`, `too_long`, `arguments_unreadable:why`, `expected_unreadable:why`, `name_mismatch`,
    `category_mismatch`, and those of `gym_reward` and `Guard.compare`.
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if expected.malformed is not None:
            return reject("expected_unreadable", expected.malformed)
        if expected.calls:
            if not actual.calls:
                return reject("kind_mismatch", "message")
            return _calls(actual.calls, expected.calls, options)
        if actual.calls:
            return reject("kind_mismatch", "call")
        if options.text_actions and not context.tools:
            return _texts(actual.content or "", expected.content or "", options)
        return _message(actual.content or "", expected.content or "")

    return decide


def _message(actual: str, expected: str) -> Verdict:
    if actual.strip() and actual.strip() == expected.strip():
        return MATCH
    return Verdict(0.0, "other_message", status=UNDECIDED)


def _texts(actual: str, expected: str, options: SweOptions) -> Verdict:
    try:
        wanted = read_command(expected)
    except NoCommand:
        return _message(actual, expected)
    if actual == expected:
        return MATCH
    try:
        given = read_command(actual)
    except NoCommand as error:
        return reject("no_command", error.reason)
    if options.compare == NAME:
        return MATCH if given.name == wanted.name else reject("name_mismatch", given.name)
    return _compare(given, wanted, options)


def _calls(actual: Sequence[ToolCall], expected: Sequence[ToolCall], options: SweOptions) -> Verdict:
    """Calls are held against each other in order: the steps of a coding agent build on each other."""
    if len(actual) != len(expected):
        return reject("call_count", detail=f"{len(actual)} instead of {len(expected)}")
    if options.compare == NAME:
        return MATCH if all(i.name == j.name for i, j in zip(actual, expected, strict=True)) else reject("name_mismatch")
    if options.compare == GUARDED and tuple(actual) == tuple(expected):
        return MATCH
    if len(actual) > _MOST_CALLS:
        return reject("too_many_calls", detail=f"{len(actual)}, at most {_MOST_CALLS} are compared")
    verdicts = [_call(i, j, options) for i, j in zip(actual, expected, strict=True)]
    worst = min(verdicts, key=lambda verdict: verdict.reward)
    if len(verdicts) == 1:
        return worst
    used = {switch for verdict in verdicts for switch in verdict.used}
    return Verdict(worst.reward, worst.reason, worst.detail, tuple(sorted(used)), worst.status)


def _call(actual: ToolCall, expected: ToolCall, options: SweOptions) -> Verdict:
    if max(len(actual.arguments), len(expected.arguments)) > _LONGEST:
        return MATCH if actual == expected and options.compare == GUARDED else reject("too_long")
    try:
        wanted = read_call(expected)
    except BadJson as error:
        return reject("expected_unreadable", error.reason)
    try:
        given = read_call(actual)
    except BadJson as error:
        return reject("arguments_unreadable", error.reason)
    return _compare(given, wanted, options)


def _compare(actual: Step, expected: Step, options: SweOptions) -> Verdict:
    if options.compare == GYM:
        return gym_reward(actual, expected, options.credit())
    return Guard(options).compare(actual, expected)
