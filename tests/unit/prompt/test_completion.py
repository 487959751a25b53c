"""Assistant text to Action and back; no text makes the parser raise."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pivot.prompt import parse_completion, render_action, strip_thinking
from pivot.trajectory import Action, ToolCall

ONE = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
TWO = '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
F = ToolCall("f", '{"a": 1}')
G = ToolCall("g", "{}")


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Hello there.", Action("Hello there.")),
        ("  Hello.<|im_end|>\n", Action("Hello.")),
        ("", Action("")),
        ("<|im_end|>", Action("")),
        (ONE, Action(None, (F,))),
        (ONE + "<|im_end|>", Action(None, (F,))),
        (f"Let me look.\n\n{ONE}\n{TWO}", Action("Let me look.", (F, G))),
        (f"{TWO} {ONE} trailing talk", Action(None, (G, F))),
        ("<think>secret</think>\n\nHi", Action("Hi")),
        ("secret</think>Hi", Action("Hi")),
        (f"<think>maybe {TWO}</think>{ONE}", Action(None, (F,))),
        ("a <think>x</think>b<think>y</think>c", Action("a bc")),
        (
            '<tool_call>{"name":"f","arguments":{"b":"é<tool_call>","a":1.50}}</tool_call>',
            Action(None, (ToolCall("f", '{"b": "é<tool_call>", "a": 1.5}'),)),
        ),
    ],
)
def test_what_a_completion_says(text: str, action: Action) -> None:
    assert parse_completion(text) == action


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<tool_call>{"name": "f", "arguments": {}}', "unclosed_tool_call"),
        ('<tool_call>{"name": "f", "argum', "unclosed_tool_call"),
        ("<tool_call>", "unclosed_tool_call"),
        ("<tool_call></tool_call>", "not_json"),
        ("<tool_call>{'name': 'f'}</tool_call>", "not_json"),
        ('<tool_call>{"name": "f", "arguments": {}} extra</tool_call>', "not_json"),
        ('<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', "not_finite"),
        ('<tool_call>[{"name": "f", "arguments": {}}]</tool_call>', "not_object"),
        ('<tool_call>{"arguments": {}}</tool_call>', "missing_name"),
        ('<tool_call>{"name": "", "arguments": {}}</tool_call>', "missing_name"),
        ('<tool_call>{"name": ["f"], "arguments": {}}</tool_call>', "missing_name"),
        ('<tool_call>{"name": "f"}</tool_call>', "missing_arguments"),
        ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', "arguments_not_object"),
        ('<tool_call>{"name": "f", "arguments": null}</tool_call>', "arguments_not_object"),
        ('<tool_call>{"name": "f", "arguments": {"a": "\\ud800"}}</tool_call>', "lone_surrogate"),
        (f"{ONE}<tool_call>oops</tool_call>", "not_json"),
        # a closing tag ends the call also inside a string, as it does for vLLM
        ('<tool_call>{"name": "f", "arguments": {"a": "</tool_call>"}}</tool_call>', "not_json"),
        (TWO * 257, "too_many_calls"),
        ("done </tool_call>", "unopened_tool_call"),
        ("<think>never ends", "unclosed_think"),
        ("<think>a</think>b<think>c", "unclosed_think"),
    ],
)
def test_a_broken_call_is_malformed_with_its_reason(text: str, reason: str) -> None:
    action = parse_completion(text)
    assert action.malformed == reason
    assert action.calls == ()
    assert action.content == text


def test_arguments_may_be_64_levels_deep_and_no_deeper() -> None:
    def nested(levels: int) -> Action:
        value = "[" * (levels - 1) + "]" * (levels - 1)
        return parse_completion(f'<tool_call>{{"name": "f", "arguments": {{"a": {value}}}}}</tool_call>')

    assert nested(64).malformed is None
    assert nested(65).malformed == "too_deep"
    assert nested(10_000).malformed == "too_deep"


@given(st.text(max_size=80))
@example("\ud800<think>")
@settings(max_examples=300)
def test_no_text_raises(text: str) -> None:
    action = parse_completion(text)
    assert action.content is not None or action.calls


TAGS = ["<tool_call>", "</tool_call>", "<think>", "</think>", "<|im_end|>"]
PIECES = ['{"name": "f", "arguments": {}}', '{"name": "f"', '"arguments": {"a": 1}}', "{", "}", "[", "null"]
FRAGMENTS = st.sampled_from([*TAGS, *PIECES, '"', "\\", "\n", "text"])


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
@settings(max_examples=500)
def test_no_mixture_of_fragments_raises_and_calls_are_well_formed(text: str) -> None:
    action = parse_completion(text)
    assert action.malformed is None or not action.calls
    for call in action.calls:
        assert call.name
        assert isinstance(json.loads(call.arguments), dict)


@pytest.mark.parametrize(
    "text",
    [
        "</think>" * 120_000,
        "<think>" * 140_000,
        "<think></think>" * 60_000,
        "<tool_call>" * 90_000,
        TWO * 20_000,
        '<tool_call>{"name": "f", "arguments": {"a": "' + "x" * 1_000_000 + '"}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": ' + "[" * 500_000,
        '<tool_call>{"name": "f", "arguments": ' + '{"a":' * 10_000 + "1" + "}" * 10_000 + "}</tool_call>",
        '<tool_call>{"name": "f", "arguments": {"a": ' + "9" * 1_000_000 + "}}</tool_call>",
        " " * 1_000_000 + "<tool_call>" + " " * 1_000_000,
    ],
    ids=[
        "think-ends",
        "thinks",
        "thoughts",
        "opens",
        "calls",
        "long",
        "open-arrays",
        "deep",
        "digits",
        "spaces",
    ],
)
def test_hostile_text_of_a_megabyte_is_read_or_refused(text: str) -> None:
    action = parse_completion(text)
    assert action.malformed is None or not action.calls


_PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(str.strip)
_TALK = _PLAIN.filter(lambda text: "<" not in text)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _PLAIN,
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_CALLS = st.builds(
    lambda name, arguments: ToolCall(name, json.dumps(arguments, ensure_ascii=False)),
    _PLAIN.filter(bool),
    st.dictionaries(_PLAIN, _VALUES, max_size=3),
)
ACTIONS = st.builds(Action, _TALK) | st.builds(
    lambda text, calls: Action(text or None, tuple(calls)), _TALK, st.lists(_CALLS, min_size=1, max_size=3)
)


@given(ACTIONS)
def test_a_rendered_action_is_read_back(action: Action) -> None:
    assert parse_completion(render_action(action)) == action


def test_an_action_is_rendered_as_templates_print_it() -> None:
    action = Action("Wait.", (ToolCall("f", '{"a":1,\n"b":"é"}'), ToolCall("g", "{}")))
    assert render_action(action) == (
        'Wait.\n<tool_call>\n{"name": "f", "arguments": {"a": 1, "b": "é"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    )
    assert render_action(Action("Bye.")) == "Bye."


def test_a_malformed_action_is_rendered_as_it_was_written() -> None:
    assert render_action(parse_completion("look <tool_call>{oops")) == "look <tool_call>{oops"


def test_thoughts_are_stripped() -> None:
    assert strip_thinking("a<think>b</think>c") == "ac"
    assert strip_thinking("b</think>c") == "c"
    assert strip_thinking("<think>a<think>b</think>c") == "c"
    assert strip_thinking("c") == "c"
    assert strip_thinking("<think>b") is None
