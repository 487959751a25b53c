"""Chat messages and tools from untrusted JSON to the canonical form."""

from typing import Any

import pytest

from pivot.trajectory.messages import BadRecord, read_messages, read_tools


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
