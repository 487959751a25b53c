"""Untrusted JSON becomes a value or a reason, never another exception."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.trajectory.strict_json import BadJson, decode, decode_object, decode_prefix

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_json_reads_back_as_it_was_written(value: object) -> None:
    assert decode(json.dumps(value)) == value
    assert decode(" \n" + json.dumps(value, ensure_ascii=False) + "\t") == value


@given(st.text(alphabet='[]{}",:0123456789.eE+-\\u dtrfnaNlsI\ud800é', max_size=60))
@settings(max_examples=300)
def test_any_text_gives_a_value_or_a_reason(text: str) -> None:
    try:
        decode(text)
    except BadJson as error:
        assert error.reason in {"not_json", "not_finite", "lone_surrogate", "too_deep"}  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        ("{", "not_json"),
        ("{} {}", "not_json"),
        ("{'a': 1}", "not_json"),
        ("NaN", "not_finite"),
        ('{"a": -Infinity}', "not_finite"),
        ("[1e400]", "not_finite"),
        ('{"a": "\\ud800"}', "lone_surrogate"),
        ('{"\\udfff": 1}', "lone_surrogate"),
        ("[" * 10_000 + "]" * 10_000, "too_deep"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "too_deep"),
        ("[" * 65 + "]" * 65, "too_deep"),
        ("9" * 5000, "not_json"),
    ],
)
def test_what_is_refused_and_why(text: str, reason: str) -> None:
    with pytest.raises(BadJson) as caught:
        decode(text)
    assert caught.value.reason == reason


def test_depth_counts_levels_of_nesting() -> None:
    assert decode("[[[7]]]", max_depth=3) == [[[7]]]
    assert decode('[[{"a": 7}]]', max_depth=3) == [[{"a": 7}]]
    with pytest.raises(BadJson, match="too_deep"):
        decode("[[{}]]", max_depth=2)
    with pytest.raises(BadJson, match="too_deep"):
        decode("[[[7]]]", max_depth=2)


def test_a_paired_surrogate_is_an_ordinary_character() -> None:
    assert decode('"\\ud83d\\ude00"') == "\U0001f600"


def test_a_prefix_says_where_it_ends() -> None:
    assert decode_prefix('x{"a": [1]} rest', 1) == ({"a": [1]}, 11)


def test_an_object_is_required() -> None:
    assert decode_object('{"a": 1}') == {"a": 1}
    with pytest.raises(BadJson, match="not_object"):
        decode_object("[1]")
