"""NeMo-Gym's comparison of actions, case by case, quirks and all."""

import json
from typing import Any

import pytest

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build

gym = build("tool_call:gym")
LONG = "the red house on the hill"

# (actual value, expected value, equal): values of one argument.
VALUES: list[tuple[Any, Any, bool]] = [
    (1, 1, True),
    (1, 2, False),
    (-1, -1, True),
    (10**30, 10**30, True),
    (10**30, 10**30 + 1, False),
    (1, 1.0, False),
    (1.0, 1, False),
    (1.0, 1.0, True),
    (1.0, 1.0 + 9e-7, True),
    (1.0, 1.0 + 2e-6, False),
    (1.0 - 9e-7, 1.0, True),
    (0.1 + 0.2, 0.3, True),
    (1e300, 1e300, True),
    (-0.0, 0.0, True),
    (True, True, True),
    (True, False, False),
    (True, 1, True),
    (False, 0, True),
    (True, 2, False),
    (1, True, False),
    (0, False, False),
    (True, 1.0, False),
    (1.0, True, False),
    (None, None, True),
    (None, 0, False),
    (0, None, False),
    (None, "", False),
    ("", None, False),
    (None, [], False),
    (False, None, False),
    ("1", 1, False),
    (1, "1", False),
    ("1.0", 1.0, False),
    ("true", True, False),
    ("", "", True),
    ("", " ", False),
    (" ", " ", True),
    ("a", "a", True),
    ("a", "A", False),
    ("a", " a", False),
    ("a ", "a", False),
    ("Oslo", "oslo", False),
    ("JFK", "JFK", True),
    ("2024-05-20", "2024-05-20", True),
    ("2024-05-20", "20 May 2024", False),
    ("a", "a b", False),
    ("a b", "a", False),
    ("a b", "a b", True),
    ("a b", "A B", True),
    ("a b", "b a", True),
    ("a  b\n", "a b", True),
    ("a b", "a c", True),
    ("a b", "c d", False),
    ("a b c d e", "a v w x y", True),
    ("a b c d e", "a v w x y z", False),
    ("a b c d", "a v w x y z", True),
    ("a a", "a b", True),
    ("a a a a a a", "a b", True),
    (LONG, LONG, True),
    (LONG, LONG.upper(), True),
    (LONG, "the blue boat in the bay", True),
    (LONG, "a blue boat in the bay", False),
    (LONG, "red", False),
    ("straße x", "STRASSE X", True),
    ("straße xy", "strasse zz", False),
    ([], [], True),
    ([1], [1], True),
    ([1], [2], False),
    ([1, 2], [2, 1], False),
    ([1], [1, 1], False),
    ([1, 1], [1], False),
    ([], [1], False),
    ([1], [1.0], False),
    ([True], [1], True),
    ([1], [True], False),
    (["a b"], ["b a"], True),
    (["a"], ["A"], False),
    ([[1], [2]], [[1], [2]], True),
    ([[1], [2]], [[2], [1]], False),
    ([None], [], False),
    ({}, {}, True),
    ({}, [], False),
    ([], {}, False),
    ({"a": 1}, {"a": 1}, True),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ({"a": 1}, {"A": 1}, False),
    ({"a": 1}, {}, False),
    ({}, {"a": 1}, False),
    ({"a": None}, {}, False),
    ({}, {"a": None}, False),
    ({"a": None}, {"a": None}, True),
    ({"a": {"b": 1}}, {"a": {"b": 1}}, True),
    ({"a": {"b": 1}}, {"a": {"b": 1.0}}, False),
    ({"a": {"b": True}}, {"a": {"b": 1}}, True),
    ({"a": [1, {"b": "x y"}]}, {"a": [1, {"b": "y x"}]}, True),
    ({"a": [1, {"b": "x"}]}, {"a": [1, {"b": "y"}]}, False),
    ("a", ["a"], False),
    (["a"], "a", False),
    ("a", {"a": 1}, False),
]


def call(arguments: str, name: str = "f") -> Action:
    return Action(None, (ToolCall(name, arguments),))


def reward(actual: Action, expected: Action, **switches: Any) -> float:
    verifier = build({"name": "tool_call", "preset": "gym", **switches}) if switches else gym
    return verifier(actual, expected, Context()).reward


@pytest.mark.parametrize(("actual", "expected", "equal"), VALUES)
def test_values(actual: Any, expected: Any, equal: bool) -> None:
    mine, wanted = call(json.dumps({"v": actual})), call(json.dumps({"v": expected}))
    verdict = gym(mine, wanted, Context())
    assert (verdict.reward, verdict.reason) == ((1.0, "match") if equal else (0.0, "arguments_mismatch"))
    assert verdict.used == ()


@pytest.mark.parametrize(
    ("actual", "expected", "reason"),
    [
        ('{"a": 1}', '{ "a" :1 }', "match"),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', "match"),
        ('{"a": 1, "extra": null}', '{"a": 1}', "arguments_mismatch"),
        ('{"a": "\\u0041"}', '{"a": "A"}', "match"),
        ('{"a": 1, "a": 2}', '{"a": 2}', "match"),
        ("", "{}", "arguments_unreadable:not_json"),
        ("{", "{}", "arguments_unreadable:not_json"),
        ('{"a": 1} x', '{"a": 1}', "arguments_unreadable:not_json"),
        ("{'a': 1}", '{"a": 1}', "arguments_unreadable:not_json"),
        ("null", "{}", "arguments_mismatch"),
        ("[]", "[]", "match"),
        ('{"a": NaN}', '{"a": 1.0}', "arguments_unreadable:not_finite"),
        ("{}", "{", "expected_unreadable:not_json"),
        ('{"a": "\\ud800"}', '{"a": "\\ud800"}', "match"),
        ('{"a":' * 200 + "1" + "}" * 200, '{"a":' * 200 + "1" + "}" * 200, "match"),
    ],
)
def test_argument_texts(actual: str, expected: str, reason: str) -> None:
    verdict = gym(call(actual), call(expected), Context())
    assert verdict.reason == reason
    assert verdict.reward == (reason == "match")


def test_kinds_of_action() -> None:
    text, one = Action("Hello."), call("{}")
    assert reward(Action("Anything else entirely"), text) == 1.0
    assert reward(one, text) == 0.0
    assert reward(Action("Hello.", one.calls), text) == 0.0
    assert reward(Action(None), text) == 0.0
    assert reward(Action(""), text) == 0.0
    assert reward(text, one) == 0.0
    assert reward(Action("Let me see.", one.calls), one) == 1.0
    assert reward(call("{}", "g"), one) == 0.0
    assert reward(call("{}", "F"), one) == 0.0


@pytest.mark.parametrize(
    ("overlap", "same", "half", "none"),
    [
        (0.0, 1.0, 1.0, 1.0),
        (0.1, 1.0, 1.0, 0.0),
        (0.25, 1.0, 1.0, 0.0),
        (0.3, 1.0, 0.0, 0.0),
        (0.5, 1.0, 0.0, 0.0),
        (0.51, 0.0, 0.0, 0.0),
    ],
)
def test_the_overlap_of_the_same_text_is_one_half(overlap: float, same: float, half: float, none: float) -> None:
    expected = call('{"v": "a b"}')
    for actual, wanted in (("a b", same), ("a c", half), ("c d", none)):
        assert reward(call(json.dumps({"v": actual})), expected, word_overlap=overlap) == wanted


def batch(*cities: str) -> Action:
    return Action(None, tuple(ToolCall("f", json.dumps({"v": city})) for city in cities))


ABC = ("a", "b", "c")
# (actual, expected, covered, strict, fractional, f1, fractional with subset, fractional with superset)
COUNTS: list[tuple[tuple[str, ...], tuple[str, ...], tuple[float, ...]]] = [
    (ABC, ABC, (1, 1, 1, 1, 1, 1)),
    (("c", "a", "b"), ABC, (1, 1, 1, 1, 1, 1)),
    (("a", "b", "x"), ABC, (0, 0, 2 / 3, 2 / 3, 2 / 3, 2 / 3)),
    (("a", "b"), ABC, (0, 0, 0, 0, 1, 0)),
    (("a", "x"), ABC, (0, 0, 0, 0, 1 / 2, 0)),
    (("a", "b", "c", "d"), ABC, (1, 0, 0, 0, 0, 1)),
    (("a", "b", "x", "y"), ABC, (0, 0, 0, 0, 0, 2 / 3)),
    (("a", "a", "b"), ABC, (0, 0, 2 / 3, 2 / 3, 2 / 3, 2 / 3)),
    (("a", "b"), ("a",), (1, 0, 0, 0, 0, 1)),
    (("a",), ("a", "a"), (0, 0, 0, 0, 1, 0)),
    (("x",), ("a",), (0, 0, 0, 0, 0, 0)),
]


@pytest.mark.parametrize(("actual", "expected", "rewards"), COUNTS)
def test_parallel_calls(actual: tuple[str, ...], expected: tuple[str, ...], rewards: tuple[float, ...]) -> None:
    switches: list[dict[str, Any]] = [
        {},
        {"parallel": "strict"},
        {"parallel": "fractional"},
        {"parallel": "f1"},
        {"parallel": "fractional", "allow_subset": True},
        {"parallel": "fractional", "allow_superset": True},
    ]
    got = [reward(batch(*actual), batch(*expected), **switch) for switch in switches]
    assert got == pytest.approx(list(rewards))


def test_gates_with_strict_and_f1() -> None:
    def scored(actual: str, expected: str, **switches: Any) -> float:
        return reward(batch(*actual), batch(*expected), **switches)

    assert scored("ab", "abc", parallel="strict", allow_subset=True) == 1.0
    assert scored("ax", "abc", parallel="strict", allow_subset=True) == 0.0
    assert scored("abcd", "abc", parallel="strict", allow_superset=True) == 1.0
    assert scored("ab", "abc", parallel="f1", allow_subset=True) == pytest.approx(4 / 5)
    assert scored("abcd", "abc", parallel="f1", allow_superset=True) == pytest.approx(6 / 7)


def test_the_matching_is_maximal_where_greed_would_fail() -> None:
    # "a b" fits both expected calls, "a x" only the first: the first call must not take the only place of the second.
    expected = batch("a x", "b y")
    assert reward(batch("a b", "a z"), expected, word_overlap=0.25) == 1.0
    assert reward(batch("a z", "a b"), expected, word_overlap=0.25) == 1.0
    assert reward(batch("a b", "z z"), expected, word_overlap=0.25) == 0.0


def test_one_unreadable_call_among_several_costs_only_itself() -> None:
    broken = Action(None, (*batch("a").calls, ToolCall("f", "{")))
    assert reward(broken, batch("a")) == 1.0
    verdict = build({"name": "tool_call", "preset": "gym", "parallel": "fractional"})(
        broken, batch("a", "b"), Context()
    )
    assert (verdict.reward, verdict.reason, verdict.detail) == (
        0.5,
        "partial",
        "1 of 2 calls; arguments_unreadable:not_json",
    )
