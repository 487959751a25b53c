"""Chat messages and tools from untrusted JSON to the canonical form."""

from typing import Any

import pytest

from pivot.trajectory import Skip, Trajectory, candidates
from pivot.trajectory.messages import BadRecord, read_messages, read_tools
from tests.unit.trajectory.examples import call
from tests.unit.trajectory.formats import read, shown, trajectory


def test_content_parts_are_joined_and_null_becomes_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, "c"]
    assert read_messages([{"role": "user", "content": parts}, {"role": "developer"}]) == (
        {"role": "user", "content": "abc"},
        {"role": "system", "content": ""},
    )


def test_arguments_keep_their_text_and_objects_become_text() -> None:
    calls = [
        {"id": "1", "function": {"name": "f", "arguments": '{"b":1,  "a":2}'}},
        {"id": "2", "function": {"name": "f", "arguments": {"b": "é", "a": 2}}},
        {"id": "3", "function": {"name": "f"}},
        {"name": "flat", "arguments": "{}"},
    ]
    (message,) = read_messages([{"role": "assistant", "tool_calls": calls}])
    assert message["content"] is None
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == [
        '{"b":1,  "a":2}',
        '{"b": "é", "a": 2}',
        "{}",
        "{}",
    ]
    assert [call["id"] for call in message["tool_calls"]] == ["1", "2", "3", "call_0_3"]
    assert message["tool_calls"][3]["function"]["name"] == "flat"


def test_results_without_ids_answer_the_open_calls_in_order() -> None:
    raw = [
        {
            "role": "assistant",
            "tool_calls": [{"id": "x", "function": {"name": "f"}}, {"id": "y", "name": "g"}],
        },
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2", "name": "g"},
    ]
    assert [message.get("tool_call_id") for message in read_messages(raw)] == [None, "x", "y"]


def test_reasoning_is_kept_and_unknown_keys_are_not() -> None:
    raw = [{"role": "assistant", "content": "hi", "reasoning_content": "hm", "refusal": None, "weight": 1}]
    assert read_messages(raw) == ({"role": "assistant", "content": "hi", "reasoning_content": "hm"},)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "messages_missing"),
        ({}, "messages_missing"),
        ("text", "messages_missing"),
        ([1], "bad_message"),
        ([{"content": "x"}], "unknown_role"),
        ([{"role": "wizard"}], "unknown_role"),
        ([{"role": ["user"]}], "unknown_role"),
        ([{"role": "user", "content": 5}], "bad_content"),
        ([{"role": "user", "content": {"text": "x"}}], "bad_content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "unsupported_content"),
        ([{"role": "assistant", "tool_calls": {}}], "bad_tool_calls"),
        ([{"role": "assistant", "tool_calls": [1]}], "bad_tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"function": 1}]}], "bad_tool_calls"),
    ],
)
def test_unreadable_messages_name_their_reason(raw: Any, reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read_messages(raw)
    assert caught.value.reason == reason


def test_tools_are_read_in_both_forms_keeping_key_order() -> None:
    chat = {"function": {"parameters": {}, "name": "f", "strict": None}, "type": "function"}
    flat = {"type": "function", "name": "g", "parameters": None, "strict": True}
    tools = read_tools([chat, flat])
    assert tools == (
        {"type": "function", "function": {"parameters": {}, "name": "f"}},
        {"type": "function", "function": {"name": "g", "strict": True}},
    )
    assert list(tools[0]) == ["type", "function"]
    assert list(tools[0]["function"]) == ["parameters", "name"]
    assert read_tools(None) == ()


@pytest.mark.parametrize("raw", [{}, [1], [{}], [{"function": {"name": 3}}], ["f"]])
def test_bad_tools_are_refused(raw: Any) -> None:
    with pytest.raises(BadRecord) as caught:
        read_tools(raw)
    assert caught.value.reason == "bad_tools"


def _skips(item: Trajectory) -> list[tuple[int, str]]:
    return [(turn.turn, turn.reason) for turn in candidates(item) if isinstance(turn, Skip)]


def test_a_chat_whose_user_calls_tools_is_read_without_them() -> None:
    messages = [
        {"role": "user", "content": "No signal."},
        {"role": "assistant", "content": "Toggle it."},
        {"role": "user", "content": "I will.", "tool_calls": [call("toggle", {}, "u1")]},
        {"role": "tool", "tool_call_id": "u1", "content": "on"},
        {"role": "assistant", "content": None, "tool_calls": [call("get", {}, "a1")], "weight": 0.0},
        {"role": "tool", "tool_call_id": "a1", "content": "ok"},
        {"role": "assistant", "content": "Fine."},
    ]
    item = trajectory("openai_chat", {"messages": messages})
    assert shown(item)[2:] == [
        ("user", "I will.", []),
        ("assistant", None, ["get {}"]),
        ("tool", "ok", []),
        ("assistant", "Fine.", []),
    ]
    assert item.left_out == {"user_calls": 1, "user_call_results": 1}
    assert _skips(item) == [(1, "weight_zero")]


@pytest.mark.parametrize("name", ["openai_chat", "swe_agent"])
def test_turns_before_the_first_image_of_a_chat_are_kept(name: str) -> None:
    seen = [{"type": "text", "text": "See:"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    messages = [
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": [*seen, {"type": "input_audio", "input_audio": {}}]},
        {"role": "assistant", "content": "A cat."},
    ]
    item = trajectory(name, {"messages" if name == "openai_chat" else "history": messages})
    assert shown(item)[2] == ("user", "See:", [])
    assert _skips(item) == [(1, "multimodal_history")]
    assert item.left_out == {"images": 1, "audio": 1}
    with pytest.raises(BadRecord, match="unsupported_content: message 0"):
        read("openai_chat", {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]})
