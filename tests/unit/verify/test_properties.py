"""What holds for every action: reflexive, symmetric, blind to serialisation."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, build
from pivot.verify.arguments import Relaxations
from tests.unit.verify.tools import BOOK, PROPERTIES

HERE = Context((BOOK,))
schema, gym, functional = build("tool_call:schema"), build("tool_call:gym"), build("functional")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
COUNTED = [
    build({"name": "tool_call", "parallel": parallel, "allow_superset": True, "allow_subset": True})
    for parallel in ("strict", "fractional", "f1", "covered")
]
SIMILARITIES = {"prose_similarity": 1.0, "query_similarity": 1.0}  # they have no off, but ask for the same words
# Texts near each other in the ways that the switches know.
NEAR = st.sampled_from(
    ["Oslo", "oslo", " oslo", "OSLO", "JFK", "jfk", "a b", "a  b", "B A", "economy", "Economy", "5", "2024-05-20",
     "May 20, 2024", "20 May 2024", "Zu\u0308rich", "Z\u00fcrich", "The customer is ill.", "the customer is ill",
     "Customer feels ill", "Customer is not ill", "fast", "Fast", "FAST", "celsius", "",
     "+1 555 010 4477", "0015550104477", "1,200.50", "1200.5", "#FA0", "#ffaa00", "P1D", "PT24H", "./a/../b/", "b",
     "HTTP://X.org", "http://x.org/", "Mia@X.org", "Mia@x.org", "1 Elm St.", "1 elm street", "select a from t;",
     "SELECT a  FROM t", "x=1", "x = 1 # a", "ls  -la", "ls -a -l", "1+2*3", "3 * 2 + 1"]
)  # fmt: skip
VALUES = (
    JSON
    | NEAR
    | st.lists(NEAR, max_size=3)
    | st.sampled_from([1, 1.0, 0, 0.0, None, True, False, [], {}, 0.3, 0.1 + 0.2])
)
ARGUMENTS = st.dictionaries(st.sampled_from([*PROPERTIES, "unknown"]), VALUES, max_size=5).filter(
    lambda arguments: "\\ud" not in json.dumps(arguments)
)


def act(*calls: dict[str, Any]) -> Action:
    return Action(None, tuple(ToolCall("book", json.dumps(call)) for call in calls))


def rewritten(value: dict[str, Any], random: Any) -> Action:
    keys = list(value)
    random.shuffle(keys)
    text = json.dumps(
        {key: value[key] for key in keys}, indent=random.choice((None, 1, 4)), ensure_ascii=random.random() < 0.5
    )
    return Action(None, (ToolCall("book", text),))


@given(ARGUMENTS, st.randoms())
@settings(max_examples=200)
def test_an_action_equals_itself_however_it_is_written(one: dict[str, Any], random: Any) -> None:
    for verifier in (schema, functional):
        verdict = verifier(rewritten(one, random), act(one), HERE)
        assert (verdict.reason, verdict.used) == ("match", ())
    assert gym(rewritten(one, random), act(one), HERE).reward == 1.0


@given(ARGUMENTS, ARGUMENTS, st.randoms())
@settings(max_examples=300)
def test_equality_is_symmetric_and_blind_to_serialisation(
    one: dict[str, Any], other: dict[str, Any], random: Any
) -> None:
    forth, back = schema(act(one), act(other), HERE), schema(act(other), act(one), HERE)
    assert (forth.reward, forth.used) == (back.reward, back.used)
    assert schema(rewritten(one, random), rewritten(other, random), HERE) == forth
    assert gym(rewritten(one, random), rewritten(other, random), HERE) == gym(act(one), act(other), HERE)


@given(st.sampled_from(sorted(PROPERTIES)), VALUES, VALUES)
@settings(max_examples=400)
def test_the_switches_that_were_used_are_enough_and_none_can_be_spared(key: str, one: Any, other: Any) -> None:
    left, right = act({"city": "x", key: one}), act({"city": "x", key: other})
    verdict = schema(left, right, HERE)
    if verdict.reward != 1.0:
        return

    def only(names: set[str]) -> float:
        off = {name: SIMILARITIES.get(name, False) for name in Relaxations().on() - names}
        return build({"name": "tool_call", **off})(left, right, HERE).reward

    used = set(verdict.used)
    assert only(used) == 1.0
    for name in used - SIMILARITIES.keys():
        assert only(used - {name}) == 0.0


@given(st.lists(ARGUMENTS, min_size=1, max_size=3), st.lists(ARGUMENTS, min_size=1, max_size=3), st.randoms())
def test_parallel_calls_have_no_order(some: list[dict[str, Any]], others: list[dict[str, Any]], random: Any) -> None:
    shuffled = list(some)
    random.shuffle(shuffled)
    for verifier in COUNTED:
        assert verifier(act(*shuffled), act(*some), HERE).reward == 1.0
        expected = verifier(act(*some), act(*others), HERE).reward
        assert verifier(act(*shuffled), act(*others), HERE).reward == expected
