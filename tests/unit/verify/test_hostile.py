"""No text, arguments or schema makes a verifier raise, and its work is bounded by sizes, not by luck."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.hostile import MEGABYTE, TOOL, call, experts, pairs
from pivot.trajectory import Action
from pivot.verify import Context, Verdict, build
from pivot.verify.acts import sentences
from pivot.verify.build import NAMED
from pivot.verify.kinds import KINDS
from pivot.verify.types import DECIDED, ERROR, UNDECIDED

# All that needs no network, with every preset.
SPECS = [
    spec
    for name, kind in KINDS.items()
    if name != "judge"
    for spec in ([f"{name}:{preset}" for preset in kind.presets] or [name])
]


def check(verdict: Verdict) -> None:
    assert 0.0 <= verdict.reward <= 1.0
    assert verdict.status in (DECIDED, UNDECIDED, ERROR)
    assert verdict.reason
    assert len(verdict.reason) <= 100
    assert len(verdict.detail) <= 1_000
    assert list(verdict.used) == sorted(set(verdict.used))
    verdict.reason.encode()  # reasons are counted and written to files


@pytest.mark.parametrize("spec", [*SPECS, *NAMED])
def test_no_hostile_pair_makes_it_raise(spec: str) -> None:
    verifier = build(spec)
    for pair in pairs(600, seed=1):
        check(verifier(pair.actual, pair.expected, pair.context))


@pytest.mark.parametrize("spec", [*SPECS, *NAMED])
def test_an_experts_own_action_is_never_decided_against_it(spec: str) -> None:
    verifier = build(spec)
    least = 0.9 if spec == "swe:gym_continuous" else 1.0  # it takes up to a tenth from an edit for its size
    for expected in experts():
        verdict = verifier(expected, expected, Context((TOOL,)))
        assert verdict.reward >= least or verdict.status == UNDECIDED, (expected, verdict)


def test_the_generator_repeats_itself() -> None:
    assert [pair.actual for pair in pairs(50, seed=3)] == [pair.actual for pair in pairs(50, seed=3)]
    assert max(len(pair.actual.content or "") for pair in pairs(400)) > MEGABYTE // 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYWORDS = st.sampled_from(
    [
        "properties",
        "required",
        "$ref",
        "anyOf",
        "enum",
        "const",
        "default",
        "description",
        "uniqueItems",
        "type",
        "items",
    ]
)


@given(st.dictionaries(KEYWORDS, JSON, max_size=4), st.dictionaries(KEYWORDS, JSON, max_size=4), JSON)
def test_no_schema_makes_it_raise(node: object, parameters: dict[str, object], value: object) -> None:
    verifier = build("tool_call:schema")
    parameters = {"properties": {"a": node}} | parameters
    for function in ({"name": "book", "parameters": parameters}, {"name": "book", "parameters": node}, parameters):
        tools = ({"type": "function", "function": function},)
        check(verifier(call('{"a": "x", "b": 1}'), call('{"a": "X"}'), Context(tools)))
        assert verifier(call('{"a": 1}'), call(' {"a": 1}'), Context(tools)).reward == 1.0


@given(st.text(), st.text())
def test_no_arguments_make_it_raise(one: str, other: str) -> None:
    for spec in ("tool_call:schema", "tool_call:gym"):
        check(build(spec)(call(one), call(other), Context((TOOL,))))
    assert build("tool_call:schema")(call(one), call(one), Context((TOOL,))).reward == 1.0


def test_a_long_message_is_read_up_to_a_bound() -> None:
    assert len(sentences("a.\n" * 5_000)) == 400
    assert max(map(len, sentences("a" * 15_000))) == 2_000
    guarded = build("message:guarded")
    assert guarded(Action("a b? " * 4_000), Action("Hello 5 of May?"), Context()).reason == "too_long"
