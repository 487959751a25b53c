"""Turns of the Terminus harnesses: what is read from a completion, and the exact reason where nothing is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.trajectory import Action, ToolCall
from pivot.verify.terminus import TERMINUS_1, TERMINUS_2, BadTurn, Turn, read_turn

ONE: dict[str, Any] = {
    "state_analysis": "s",
    "explanation": "e",
    "commands": [{"keystrokes": "ls\n", "is_blocking": True, "timeout_sec": 5}],
    "is_task_complete": False,
}
TWO: dict[str, Any] = {"analysis": "a", "plan": "p", "commands": [{"keystrokes": "ls\n", "duration": 0.1}]}


def read(content: str | None, harness: str | None = None, text_around: bool = True) -> Turn:
    return read_turn(Action(content), harness, text_around)


def reason(value: Any, harness: str | None = None, text_around: bool = True) -> str:
    content = value if isinstance(value, str | None) else json.dumps(value)
    with pytest.raises(BadTurn) as caught:
        read(content, harness, text_around)
    assert str(caught.value) == caught.value.reason
    return caught.value.reason


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key}


def command(value: dict[str, Any], **change: Any) -> dict[str, Any]:
    return value | {"commands": [value["commands"][0] | change]}


def test_both_schemas_are_read_and_told_apart_by_their_keys() -> None:
    for harness in (None, TERMINUS_1):
        assert read(json.dumps(ONE), harness) == Turn(TERMINUS_1, ("ls\n",), False)
    for harness in (None, TERMINUS_2):
        assert read(json.dumps(TWO), harness) == Turn(TERMINUS_2, ("ls\n",), False)
    assert read(json.dumps(ONE | {"is_task_complete": True})).complete
    assert read(json.dumps(TWO | {"task_complete": True})).complete
    assert not read(json.dumps(TWO | {"task_complete": False})).complete


def test_keystrokes_are_joined_and_further_keys_change_nothing() -> None:
    commands = [{"keystrokes": "cd d"}, {"keystrokes": "\n", "duration": 3}, {"keystrokes": "C-c", "why": None}]
    turn = read(json.dumps(TWO | {"commands": commands, "mood": "good"}))
    assert turn.entries == ("cd d", "\n", "C-c")
    assert turn.keystrokes == "cd d\nC-c"
    assert read(json.dumps(TWO | {"commands": []})).keystrokes == ""


@pytest.mark.parametrize("key", ["state_analysis", "explanation", "commands", "is_task_complete"])
def test_every_key_of_terminus_1_is_required(key: str) -> None:
    assert reason(without(ONE, key), TERMINUS_1) == f"missing.{key}"
    assert reason(ONE | {key: None}) == f"type.{key}"


@pytest.mark.parametrize("key", ["analysis", "plan", "commands"])
def test_every_key_of_terminus_2_but_the_flag_is_required(key: str) -> None:
    assert reason(without(TWO, key), TERMINUS_2) == f"missing.{key}"
    assert reason(TWO | {key: 1}) == f"type.{key}"


WRONG: list[tuple[dict[str, Any], str]] = [
    (ONE | {"is_task_complete": "false"}, "type.is_task_complete"),
    (ONE | {"is_task_complete": 0}, "type.is_task_complete"),
    (ONE | {"commands": "ls"}, "type.commands"),
    (ONE | {"commands": {"keystrokes": "ls"}}, "type.commands"),
    (ONE | {"commands": ["ls"]}, "type.commands"),
    (ONE | {"commands": [[]]}, "type.commands"),
    (command(ONE, keystrokes=None), "type.commands.keystrokes"),
    (command(ONE, keystrokes=["ls"]), "type.commands.keystrokes"),
    (command(ONE, is_blocking=1), "type.commands.is_blocking"),
    (command(ONE, timeout_sec="5"), "type.commands.timeout_sec"),
    (command(ONE, timeout_sec=True), "type.commands.timeout_sec"),
    (ONE | {"commands": [{"is_blocking": True, "timeout_sec": 5}]}, "missing.commands.keystrokes"),
    (ONE | {"commands": [{"keystrokes": "ls", "timeout_sec": 5}]}, "missing.commands.is_blocking"),
    (ONE | {"commands": [{"keystrokes": "ls", "is_blocking": True}]}, "missing.commands.timeout_sec"),
    (ONE | {"commands": [*ONE["commands"], {}]}, "missing.commands.keystrokes"),
    (TWO | {"task_complete": None}, "type.task_complete"),
    (TWO | {"task_complete": "yes"}, "type.task_complete"),
    (TWO | {"commands": [{}]}, "missing.commands.keystrokes"),
    (command(TWO, duration=None), "type.commands.duration"),
    (command(TWO, duration="0.1"), "type.commands.duration"),
    (command(TWO, duration=False), "type.commands.duration"),
    ({}, "missing.analysis"),
    ({"state_analysis": "s"}, "missing.explanation"),
]


@pytest.mark.parametrize(("value", "why"), WRONG)
def test_ill_typed_and_missing_keys_are_named(value: dict[str, Any], why: str) -> None:
    assert reason(value) == why


def test_one_harness_does_not_read_the_form_of_the_other() -> None:
    assert reason(TWO, TERMINUS_1) == "missing.state_analysis"
    assert reason(ONE, TERMINUS_2) == "missing.analysis"


ANSWER = json.dumps(TWO)
OTHER = json.dumps(TWO | {"commands": [{"keystrokes": "rm -r d\n"}]})
TYPES_A_MARK = json.dumps(TWO | {"commands": [{"keystrokes": "grep '</think>' f\n"}]})


# (text, the keystrokes read with text around, and without)
AROUND: list[tuple[str, str, str]] = [
    (ANSWER, "ls\n", "ls\n"),
    (f"  {ANSWER}\n", "ls\n", "ls\n"),
    (f"<think>rm?</think>\n{ANSWER}", "ls\n", "ls\n"),
    (f"rm?</think>{ANSWER}", "ls\n", "ls\n"),
    (f"<think>{OTHER}</think>{ANSWER}", "ls\n", "ls\n"),
    (f"{OTHER}</think>{ANSWER}", "ls\n", "ls\n"),
    (f"a</think>{OTHER}</think>{ANSWER}", "ls\n", "ls\n"),
    ("{thinking</think>" + ANSWER, "ls\n", "ls\n"),
    (TYPES_A_MARK, "grep '</think>' f\n", "grep '</think>' f\n"),
    (f"<think>x</think>{TYPES_A_MARK}", "grep '</think>' f\n", "grep '</think>' f\n"),
    (f"Sure:\n{ANSWER}", "ls\n", "not_json"),
    (f"{ANSWER}\nDone.", "ls\n", "not_json"),
    (f"```json\n{ANSWER}\n```", "ls\n", "not_json"),
    (f"{ANSWER}{OTHER}", "ls\n", "not_json"),
    ("{}" + ANSWER, "ls\n", "not_json"),
    (f'I use {{"a": 1}} here. {ANSWER}', "ls\n", "not_json"),
    (f"<think>{ANSWER}</think>", "empty", "empty"),
    ("", "empty", "empty"),
    (" \n", "empty", "empty"),
    ("Done.", "not_json", "not_json"),
    (ANSWER[:-1], "not_json", "not_json"),
    ("[]", "not_object", "not_object"),
    (ANSWER.replace("0.1", "NaN"), "not_finite", "not_finite"),
    (ANSWER.replace('"a"', '"\\ud800"'), "lone_surrogate", "lone_surrogate"),
    ("{" * 17 + ANSWER, "not_json", "not_json"),
]


@pytest.mark.parametrize(("text", "loose", "strict"), AROUND)
def test_thoughts_are_cut_and_other_text_is_ignored_only_where_it_may_be(text: str, loose: str, strict: str) -> None:
    for said, text_around in ((loose, True), (strict, False)):
        if said.endswith("\n"):
            assert read(text, text_around=text_around).keystrokes == said
        else:
            assert reason(text, text_around=text_around) == said


def test_what_is_no_text_of_a_turn_has_its_reason() -> None:
    assert reason(None) == "empty"
    with pytest.raises(BadTurn, match=r"^calls$"):
        read_turn(Action(ANSWER, (ToolCall("f", "{}"),)), None, True)
    with pytest.raises(BadTurn, match=r"^malformed$"):
        read_turn(Action(ANSWER, malformed="unclosed_think"), None, True)
    assert reason("x" * 2_000_001) == "too_long"
    assert reason('{"analysis": ' * 100_000) == "too_deep"
    assert reason('{"analysis": ' + "[" * 70 + "]" * 70 + "}") == "too_deep"


@given(st.lists(st.text(max_size=8).filter(lambda text: "\\ud" not in json.dumps(text)), max_size=4), st.booleans())
def test_whatever_is_typed_is_read_back(entries: list[str], complete: bool) -> None:
    commands = [{"keystrokes": entry} for entry in entries]
    for text in (json.dumps(TWO | {"commands": commands, "task_complete": complete}, ensure_ascii=False),):
        for around in (text, f"<think>hm</think>{text}"):
            assert read(around) == Turn(TERMINUS_2, tuple(entries), complete)
