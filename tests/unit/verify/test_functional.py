"""Functional equivalence of calls: what is the same action, what is not, and why."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.prompt import parse_completion
from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build

BOOK = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "price": {"type": "number"},
                "seats": {"type": "integer", "default": 1},
                "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
                "code": {"type": ["string", "integer"]},
                "rush": {"type": "boolean", "default": False},
                "legs": {"type": "array", "items": {"$ref": "#/$defs/Leg"}},
                "meta": {"type": "object"},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
            },
            "required": ["city"],
            "$defs": {
                "Leg": {
                    "type": "object",
                    "properties": {"to": {"type": "string"}, "bags": {"type": "integer", "default": 0}},
                    "required": ["to"],
                }
            },
        },
    },
}
functional = build("functional")


def _do(**arguments: Any) -> Action:
    return Action(None, (ToolCall("book", json.dumps(arguments)),))


def _raw(arguments: str) -> Action:
    return Action(None, (ToolCall("book", arguments),))


SAME = [
    (_do(city="Oslo"), _do(city="Oslo")),
    (_do(city="Oslo", seats=2), _raw('{"seats":2,  "city":"Oslo"}')),
    (_do(city="Oslo", seats=1), _do(city="Oslo")),
    (_do(city="Oslo", seats=1.0), _do(city="Oslo")),
    (_do(city="Oslo", seats=None), _do(city="Oslo")),
    (_do(city="Oslo", seats=None), _do(city="Oslo", seats=1)),
    (_do(city="Oslo", note=None, rush=False, tags=[]), _do(city="Oslo")),
    (_do(city="Oslo", price=5), _do(city="Oslo", price=5.0)),
    (_do(city="Oslo", seats=3.0), _do(city="Oslo", seats=3)),
    (_do(city="Oslo", price=1e2), _do(city="Oslo", price=100)),
    (_do(city="Oslo", code=5), _do(city="Oslo", code="5")),
    (_do(city="Oslo", code="-7"), _do(city="Oslo", code=-7)),
    (_do(city="  oslo "), _do(city="OSLO")),
    (_do(city="new\n york"), _do(city="New York")),
    (_do(city="Straße"), _do(city="STRASSE")),
    (_do(city="x", legs=[{"to": "A", "bags": 0}]), _do(city="x", legs=[{"to": "a"}])),
    (_do(city="x", legs=[{"to": "A", "bags": 2.0}]), _do(city="x", legs=[{"bags": 2, "to": "A"}])),
    (_raw('{"city": "\\u0041"}'), _do(city="A")),
]

DIFFERENT = [
    (_do(city="Rome"), _do(city="Oslo"), "argument_mismatch:city"),
    (_do(), _do(city="Oslo"), "missing_argument:city"),
    (_do(city=None), _do(city="Oslo"), "argument_mismatch:city"),
    (_do(city="Oslo", price=5), _do(city="Oslo"), "extra_argument:price"),
    (_do(city="Oslo", surprise=1), _do(city="Oslo"), "extra_argument:surprise"),
    (_do(city="Oslo", surprise=None), _do(city="Oslo"), "extra_argument:surprise"),
    (_do(city="Oslo"), _do(city="Oslo", seats=2), "missing_argument:seats"),
    (_do(city="Oslo", seats="2"), _do(city="Oslo", seats=2), "argument_mismatch:seats"),
    (_do(city="Oslo", seats=True), _do(city="Oslo"), "extra_argument:seats"),
    (_do(city="Oslo", rush=1), _do(city="Oslo", rush=True), "argument_mismatch:rush"),
    (_do(city="Oslo", rush="true"), _do(city="Oslo", rush=True), "argument_mismatch:rush"),
    (_do(city=5), _do(city="5"), "argument_mismatch:city"),
    (_do(city="x", code="5x"), _do(city="x", code=5), "argument_mismatch:code"),
    (_do(city="x", code="0x5"), _do(city="x", code=5), "argument_mismatch:code"),
    (_do(city="x", price=5.01), _do(city="x", price=5), "argument_mismatch:price"),
    (
        _do(city="x", legs=[{"to": "A"}, {"to": "B"}]),
        _do(city="x", legs=[{"to": "B"}, {"to": "A"}]),
        "argument_mismatch:legs",
    ),
    (_do(city="x", legs=[{"to": "A"}]), _do(city="x", legs=[{"to": "A"}] * 2), "argument_mismatch:legs"),
    (_do(city="x", legs=[{"to": None}]), _do(city="x", legs=[{}]), "argument_mismatch:legs"),
    (_do(city="x", meta={"a": None}), _do(city="x", meta={}), "argument_mismatch:meta"),
    (_do(city="x", meta={"a": 5}), _do(city="x", meta={"a": 5.0}), "argument_mismatch:meta"),
    (_do(city="x", meta=[]), _do(city="x", meta={}), "argument_mismatch:meta"),
    (Action("Booked!"), _do(city="x"), "kind_mismatch:message"),
    (_do(city="x"), Action("Booked!"), "kind_mismatch:call"),
    (Action(None, (ToolCall("cancel", "{}"),)), _do(city="x"), "name_mismatch"),
    (Action(None, (ToolCall("Book", '{"city": "x"}'),)), _do(city="x"), "name_mismatch"),
    (Action(None, _do(city="x").calls * 2), _do(city="x"), "call_count"),
    (Action("broken", malformed="not_json"), _do(city="x"), "malformed:not_json"),
    (Action("broken", malformed="not_json"), Action("broken"), "malformed:not_json"),
    (_raw("{"), _do(city="x"), "malformed:not_json"),
    (_raw("[]"), _do(city="x"), "malformed:not_object"),
    (_do(city="x"), _raw("{"), "expected_unreadable:not_json"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equivalent_calls_earn_one_both_ways_round(one: Action, other: Action) -> None:
    for actual, expected in ((one, other), (other, one)):
        verdict = functional(actual, expected, Context([BOOK]))
        assert (verdict.reward, verdict.reason) == (1.0, "match")


@pytest.mark.parametrize(("actual", "expected", "reason"), DIFFERENT)
def test_different_actions_earn_nothing_with_a_reason(actual: Action, expected: Action, reason: str) -> None:
    verdict = functional(actual, expected, Context([BOOK]))
    assert (verdict.reward, verdict.reason) == (0.0, reason)
    assert functional(expected, actual, Context([BOOK])).reward == 0.0


def test_without_a_schema_nothing_is_relaxed_but_text_and_key_order() -> None:
    def reward(one: Action, other: Action) -> float:
        return functional(one, other, Context()).reward

    assert reward(_do(city="a", seats=2), _raw('{"seats": 2, "city": " A "}')) == 1.0
    assert reward(_do(city="a", seats=1), _do(city="a")) == 0.0
    assert reward(_do(city="a", note=None), _do(city="a")) == 0.0
    assert reward(_do(price=5), _do(price=5.0)) == 0.0


def test_text_beside_calls_does_not_count() -> None:
    calls = _do(city="Oslo").calls
    assert functional(Action("Let me book that.", calls), Action(None, calls), Context([BOOK])).reward == 1.0


def _batch(*cities: str) -> Action:
    return Action(None, tuple(ToolCall("book", json.dumps({"city": city})) for city in cities))


def test_parallel_calls_are_a_multiset() -> None:
    assert functional(_batch("a", "b", "a"), _batch("A", "a", "b"), Context([BOOK])).reward == 1.0
    verdict = functional(_batch("a", "b", "b"), _batch("a", "a", "b"), Context([BOOK]))
    assert (verdict.reward, verdict.reason) == (0.0, "argument_mismatch:city")
    assert functional(_batch("a"), _batch("a", "b"), Context([BOOK])).reason == "call_count"
    mixed = Action(None, (*_batch("a").calls, ToolCall("cancel", "{}")))
    assert functional(mixed, _batch("a", "b"), Context([BOOK])).reason == "name_mismatch"
    assert functional(Action(None, mixed.calls[::-1]), mixed, Context([BOOK])).reward == 1.0


def test_a_hostile_key_cannot_flood_the_reasons() -> None:
    verdict = functional(_do(city="x", **{"k:\n" + "y" * 10_000: 1}), _do(city="x"), Context([BOOK]))
    assert verdict.reason == "extra_argument:k??" + "y" * 37


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from([*BOOK["function"]["parameters"]["properties"], "unknown"])  # type: ignore[index]
ARGUMENTS = st.dictionaries(KEYS, JSON, max_size=5).filter(lambda a: "\\ud" not in json.dumps(a))


@given(ARGUMENTS, ARGUMENTS, st.randoms())
@settings(max_examples=200)
def test_equivalence_is_reflexive_symmetric_and_blind_to_order(one: Any, other: Any, random: Any) -> None:
    keys = list(one)
    random.shuffle(keys)
    shuffled = json.dumps({key: one[key] for key in keys}, indent=2, ensure_ascii=False)
    assert functional(_raw(shuffled), _do(**one), Context([BOOK])).reason == "match"
    forth, back = functional(_do(**one), _do(**other), Context([BOOK])), functional(_do(**other), _do(**one), Context([BOOK]))
    assert forth.reward == back.reward


@given(st.dictionaries(st.sampled_from(["parameters", "name"]), JSON), JSON, ARGUMENTS)
def test_no_schema_makes_it_raise(function: Any, parameters: Any, arguments: Any) -> None:
    tools = [{"type": "function", "function": function}, {"type": "function", "function": {"name": "book"}}]
    tools[1]["function"]["parameters"] = {
        "properties": parameters,
        "required": parameters,
        "$ref": parameters,
    }
    for tool in ([tools[0]], [tools[1]], tools):
        assert functional(_do(**arguments), _do(**arguments), Context(tool)).reward == 1.0


def test_a_schema_that_goes_round_in_circles_ends() -> None:
    loop = {"$ref": "#/$defs/N", "$defs": {"N": {"anyOf": [{"$ref": "#/$defs/N"}, {"$ref": "#/$defs/M"}]}}}
    node = {
        "properties": {"n": {"$ref": "#/$defs/N"}},
        "$defs": {"N": {"default": {"n": {}}, "properties": {"n": {"$ref": "#/$defs/N"}}}},
    }
    deep = _raw('{"n":' * 60 + "1" + "}" * 60)
    for parameters in (loop, node):
        tool = {"type": "function", "function": {"name": "book", "parameters": parameters}}
        start = time.process_time()
        assert functional(deep, deep, Context([tool])).reward == 1.0
        assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city": "' + "x" * 1_000_000 + '"}',
        '{"legs": [' + '{"to": "a"},' * 60_000 + '{"to": "a"}]}',
        "{" + ",".join(f'"k{n}": {n}' for n in range(60_000)) + "}",
        '{"meta": ' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}",
        '{"price": ' + "9" * 1_000_000 + "}",
        '{"city": "' + " " * 1_000_000 + '"}',
        '{"code": "' + "9" * 1_000_000 + '"}',
    ],
    ids=["text", "list", "keys", "deep", "digits", "spaces", "number-text"],
)
def test_a_megabyte_of_arguments_takes_bounded_time(arguments: str) -> None:
    expected = _do(city="Oslo", code=9)
    start = time.process_time()
    action = parse_completion(f'<tool_call>{{"name": "book", "arguments": {arguments}}}</tool_call>')
    verdict = functional(action, expected, Context([BOOK]))
    again = functional(_raw(arguments), expected, Context([BOOK]))
    assert time.process_time() - start < 2.0
    assert verdict.reward == again.reward == 0.0
