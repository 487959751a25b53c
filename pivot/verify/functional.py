"""Functional equivalence (eq. 6), first version: would this action do what the expert's did?"""

from collections import Counter
from collections.abc import Sequence

from pivot.trajectory.strict_json import BadJson
from pivot.trajectory.types import Action, Tool
from pivot.verify.arguments import normal_arguments
from pivot.verify.message import compare_messages
from pivot.verify.schema import Schema, arguments_schema
from pivot.verify.types import MATCH, Context, Verdict, reject

_LONGEST_ARGUMENTS = 2_000_000
_Call = tuple[str, dict[str, str]]


def functional(actual: Action, expected: Action, context: Context) -> Verdict:
    """1 when the actual action is as good as the expert's, else 0 with the reason.

    Calls: the same tools, as a multiset (parallel calls have no order), with equal arguments. Under the
    tool's schema an optional argument that is null or its default equals absence and 5 equals 5.0 (and "5"
    where the schema takes both); always, key order is free and texts are compared case-folded with whitespace
    collapsed; arrays are ordered. Text beside calls does not count. Messages: see `compare_messages`.

    Args:
        actual: The policy's action.
        expected: The expert's action.
        context: Its tools say what equals what.

    Returns:
        The verdict. Reasons: `match`, `malformed:why`, `kind_mismatch:message|call`, `call_count`,
        `name_mismatch`, `missing_argument:key`, `extra_argument:key`, `argument_mismatch:key`,
        `expected_unreadable`, and those of `compare_messages`.
    """
    if actual.malformed is not None:
        return reject("malformed", actual.malformed)
    if expected.malformed is not None:
        return reject("expected_unreadable", expected.malformed)
    if not expected.calls:
        if actual.calls:
            return reject("kind_mismatch", "call")
        return compare_messages(actual.content or "", expected.content or "")
    if not actual.calls:
        return reject("kind_mismatch", "message")
    if len(actual.calls) != len(expected.calls):
        return reject("call_count", detail=f"{len(actual.calls)} instead of {len(expected.calls)}")
    if Counter(call.name for call in actual.calls) != Counter(call.name for call in expected.calls):
        return reject("name_mismatch", detail=f"{actual.calls[0].name[:80]!r}, not {expected.calls[0].name[:80]!r}")
    return _compare_calls(actual, expected, context.tools)


def _normal_calls(action: Action, schemas: dict[str, Schema]) -> list[_Call]:
    calls = []
    for call in action.calls:
        if len(call.arguments) > _LONGEST_ARGUMENTS:
            raise BadJson("too_long")
        calls.append((call.name, normal_arguments(call.arguments, schemas[call.name])))
    return calls


def _compare_calls(actual: Action, expected: Action, tools: Sequence[Tool]) -> Verdict:
    """Both actions call the same tools equally often; equality is an equivalence, so multisets decide."""
    schemas = {call.name: arguments_schema(tools, call.name) for call in expected.calls}
    try:
        wanted = _normal_calls(expected, schemas)
    except BadJson as error:
        return reject("expected_unreadable", error.reason)
    try:
        given = _normal_calls(actual, schemas)
    except BadJson as error:
        return reject("malformed", error.reason)
    unmatched = Counter(map(_key, wanted))
    unmatched.subtract(map(_key, given))
    missing = next((call for call in wanted if unmatched[_key(call)] > 0), None)
    if missing is None:
        return MATCH
    nearest = next(call for call in given if unmatched[_key(call)] < 0 and call[0] == missing[0])
    return _difference(nearest[1], missing[1])


def _key(call: _Call) -> tuple[str, tuple[tuple[str, str], ...]]:
    return call[0], tuple(sorted(call[1].items()))


def _difference(given: dict[str, str], wanted: dict[str, str]) -> Verdict:
    """The first difference of two unequal calls of one tool, in key order."""
    for key in sorted(wanted.keys() - given.keys()):
        return reject("missing_argument", key)
    for key in sorted(given.keys() - wanted.keys()):
        return reject("extra_argument", key)
    key = min(key for key in wanted if given[key] != wanted[key])
    return reject("argument_mismatch", key, f"{given[key][:120]} instead of {wanted[key][:120]}")
