"""Tool calls: would these calls do what the expert's did?

Two ways of comparing arguments: `schema`, our default, reads the tool's JSON schema; `gym` is NeMo-Gym's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import BadJson, decode, decode_object
from pivot.trajectory.types import Action, ToolCall
from pivot.verify import gym
from pivot.verify.arguments import Difference, Relaxations, compare
from pivot.verify.call_order import same_order
from pivot.verify.matching import COVERED, DIFFERENT, EQUAL, IDENTICAL, STRICT, Parallel, match
from pivot.verify.schema import arguments_schema
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

SCHEMA, GYM = "schema", "gym"
# Arguments longer than this, or this much longer than the others (the same text written in escapes is six times
# as long), are compared as they are written and no further.
_LONGEST = 100_000
_LONGEST_UNLIKE, _LONGEST_FACTOR = 16_384, 12
_MOST_CALLS = 128
_IDENTICAL_OVERLAP = 0.5  # what NeMo-Gym's overlap is for the same text
_CUT = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallOptions(Relaxations):
    """Switches of `tool_call`; those of `Relaxations` are for `arguments: schema`.

    Attributes:
        arguments: `schema` or `gym`.
        word_overlap: `gym` only: least overlap of texts of two words or more; the same text has 0.5.
        parallel: `covered`: 1 when every expected call has a match of its own, further calls do no harm;
            `strict`: 1 when all required ones are matched; `fractional`: matched / required;
            `f1`: 2 matched / (expected + actual).
        allow_subset: Not under `covered`: fewer calls than the expert's are allowed, then as many are required.
        allow_superset: Not under `covered`: more calls than the expert's are allowed.
    """

    arguments: str = SCHEMA
    word_overlap: float = 0.1
    parallel: str = STRICT
    allow_subset: bool = False
    allow_superset: bool = False

    def __post_init__(self) -> None:
        Relaxations.__post_init__(self)
        self.counting()
        if self.arguments not in (SCHEMA, GYM):
            raise ValueError(f"arguments must be {SCHEMA} or {GYM}")
        if not 0.0 <= self.word_overlap <= 1.0:
            raise ValueError("word_overlap must be from 0 to 1")

    def counting(self) -> Parallel:
        """The rules for parallel calls."""
        return Parallel(self.parallel, self.allow_subset, self.allow_superset)


PRESETS = {SCHEMA: ToolCallOptions(), GYM: ToolCallOptions(arguments=GYM, parallel=COVERED)}

Compared = Difference | set[str]


def tool_call(options: ToolCallOptions) -> Decide:
    """The verifier under some options.

    Text beside calls does not count. Where the expert wrote a message, calls earn 0; of a message `gym` pays any
    text, `schema` only the same one, and leaves others undecided for a verifier of messages.

    Reasons: `match`, `partial`, `malformed:why`, `kind_mismatch:message|call`, `empty_message`, `other_message`,
    `call_count`, `call_order`, `name_mismatch`, `missing_argument:key`, `extra_argument:key`, `argument_mismatch:key`,
    `arguments_mismatch` (gym), `arguments_unreadable:why`, `expected_unreadable:why`, `too_long`, `too_many_calls`.
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if expected.malformed is not None:
            return reject("expected_unreadable", expected.malformed)
        if not expected.calls:
            return _expected_message(actual, expected, options.arguments == GYM)
        if not actual.calls:
            return reject("kind_mismatch", "message")
        return _expected_calls(actual.calls, expected.calls, context, options)

    return decide


def _expected_message(actual: Action, expected: Action, any_text: bool) -> Verdict:
    if actual.calls:
        return reject("kind_mismatch", "call")
    if not actual.content:
        return reject("empty_message")
    if any_text or actual.content.strip() == (expected.content or "").strip():
        return MATCH
    return Verdict(0.0, "other_message", status=UNDECIDED)


def _expected_calls(
    actual: Sequence[ToolCall], expected: Sequence[ToolCall], context: Context, options: ToolCallOptions
) -> Verdict:
    # Only in the same order: calls on one file depend on each other.
    identical = list(actual) == list(expected) or (options.arguments == GYM and Counter(actual) == Counter(expected))
    too_long = _too_long(actual, expected)
    if identical and (options.arguments == SCHEMA or (too_long and options.word_overlap <= _IDENTICAL_OVERLAP)):
        return MATCH
    if too_long:
        return reject("too_long")
    counting = options.counting()
    if not counting.allows(len(actual), len(expected)):
        return reject("call_count", detail=f"{len(actual)} instead of {len(expected)}")
    if max(len(actual), len(expected)) > _MOST_CALLS:
        return reject("too_many_calls", detail=f"{len(actual)}, at most {_MOST_CALLS} are compared")
    calls = _Calls(actual, expected, _Rules(context, options))
    found = match(len(actual), len(expected), calls.likeness)
    matched = [(i, j) for j, i in enumerate(found) if i >= 0]
    reward = counting.reward(len(matched), len(actual), len(expected))
    used = tuple(sorted({switch for pair in matched for switch in calls.used(*pair)}))
    if reward == 1.0 and len(actual) == len(expected) and not calls.in_order():
        return reject("call_order")
    if reward == 1.0:
        return Verdict(1.0, "match", used=used)
    missing = next((j for j, i in enumerate(found) if i < 0), None)
    spare = [i for i in range(len(actual)) if i not in found]
    why = reject("call_count") if missing is None else calls.explain(missing, spare)
    if reward == 0.0:
        return why
    return Verdict(
        reward, "partial", f"{len(matched)} of {len(expected)} calls; {why.reason} {why.detail}".strip(), used
    )


def _too_long(actual: Sequence[ToolCall], expected: Sequence[ToolCall]) -> bool:
    sizes = [sum(len(call.arguments) for call in calls) for calls in (actual, expected)]
    return max(sizes) > min(_LONGEST, _LONGEST_UNLIKE + _LONGEST_FACTOR * min(sizes))


class _Rules:
    """How one call is read and held against another."""

    def __init__(self, context: Context, options: ToolCallOptions) -> None:
        self.options = options
        self._tools = context.tools
        self._gym = options.arguments == GYM

    def read(self, arguments: str) -> Any:
        """The decoded arguments, or `BadJson` as a value."""
        try:
            if self._gym:
                return decode(arguments, max_depth=None)
            return decode_object(arguments if arguments.strip() else "{}")
        except BadJson as error:
            return error

    def compare(self, name: str, given: Any, wanted: Any) -> Compared:
        """The switches used, or the difference, of two calls of one tool that could be read."""
        if not self._gym:
            return compare(given, wanted, arguments_schema(self._tools, name), self.options)
        return set() if gym.same(given, wanted, self.options.word_overlap) else Difference("arguments_mismatch", None)


class _Calls:
    """The calls of two actions, read once, each pair compared at most once."""

    def __init__(self, actual: Sequence[ToolCall], expected: Sequence[ToolCall], rules: _Rules) -> None:
        self._actual, self._expected, self._rules = actual, expected, rules
        self._given = [rules.read(call.arguments) for call in actual]
        self._wanted = [rules.read(call.arguments) for call in expected]
        self._compared: dict[tuple[int, int], Compared] = {}
        self._raw_counts = rules.options.arguments == SCHEMA

    def likeness(self, i: int, j: int) -> int:
        one, other = self._actual[i], self._expected[j]
        if one.name != other.name:
            return DIFFERENT
        if self._raw_counts and one.arguments == other.arguments:
            return IDENTICAL
        if isinstance(self._given[i], BadJson) or isinstance(self._wanted[j], BadJson):
            return DIFFERENT
        result = self._compare(i, j)
        return DIFFERENT if isinstance(result, Difference) else EQUAL if result else IDENTICAL

    def used(self, i: int, j: int) -> set[str]:
        """The switches that a matched pair needed."""
        if self._raw_counts and self._actual[i].arguments == self._expected[j].arguments:
            return set()
        result = self._compare(i, j)
        return set() if isinstance(result, Difference) else result

    def in_order(self) -> bool:
        """Whether calls that depend on each other stand in one order in both actions; `gym` knows no order."""
        if not self._raw_counts or len(self._actual) < 2:
            return True
        sides = (self._actual, self._given), (self._expected, self._wanted)
        named = [[(call.name, read) for call, read in zip(calls, given, strict=True)] for calls, given in sides]
        return same_order(*named)

    def _compare(self, i: int, j: int) -> Compared:
        if (i, j) not in self._compared:
            self._compared[i, j] = self._rules.compare(self._actual[i].name, self._given[i], self._wanted[j])
        return self._compared[i, j]

    def explain(self, j: int, spare: Sequence[int]) -> Verdict:
        """Why no spare actual call answers the expected call `j`."""
        if isinstance(self._wanted[j], BadJson):
            return reject("expected_unreadable", self._wanted[j].reason)
        near = next((i for i in spare if self._actual[i].name == self._expected[j].name), None)
        if near is None:
            shown = repr(self._actual[spare[0]].name[:_CUT]) if spare else "nothing"
            return reject("name_mismatch", detail=f"{shown}, not {self._expected[j].name[:_CUT]!r}")
        if isinstance(self._given[near], BadJson):
            return reject("arguments_unreadable", self._given[near].reason)
        result = self._compare(near, j)
        if isinstance(result, Difference):
            return reject(result.reason, result.key, result.detail)
        return reject("call_count")
