"""OpenAI chat messages and tools from untrusted JSON to one canonical form.

Canonical message: `role` (system | user | assistant | tool) and `content` (str); an assistant message with
calls has `tool_calls` (each `id`, `type`, `function{name, arguments: JSON text}`) and may have content None;
a tool message has `tool_call_id`; an assistant message may have `reasoning_content`. Nothing else survives.
"""

import json
from collections import Counter
from typing import Any

from pivot.trajectory.strict_json import BadJson, decode
from pivot.trajectory.types import Action, Message, Tool, ToolCall
from pivot.trajectory.untrusted import as_dict, as_text, objects

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",  # the older form of a tool's result
}
_REASONING_KEYS = ("reasoning_content", "reasoning")
_TEXT_PARTS = ("text", "input_text", "output_text")


class BadRecord(ValueError):
    """A record that cannot be read at all; `reason` is machine-readable, `detail` says where."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def read_text(content: Any, where: str) -> str | None:
    """Text of a content field: str, absent, or a list of text parts joined."""
    if content is None or isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRecord("bad_content", f"{where}: content is neither text nor a list of parts")
    texts = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise BadRecord("unsupported_content", f"{where}: a content part is no text")
    return "".join(texts)


def _read_call(call: Any, fallback_id: str, where: str) -> dict[str, Any]:
    if not isinstance(call, dict):
        raise BadRecord("bad_tool_calls", f"{where}: a tool call is no object")
    # tau2-bench and some exporters write calls flat, without the `function` object.
    function = call.get("function", call)
    if not isinstance(function, dict):
        raise BadRecord("bad_tool_calls", f"{where}: `function` is no object")
    name = function.get("name")
    arguments = function.get("arguments")
    if arguments is None or arguments == "":
        arguments = "{}"  # what providers write for a call without arguments
    elif not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    call_id = call.get("id")
    return {
        "id": call_id if isinstance(call_id, str) and call_id else fallback_id,
        "type": "function",
        "function": {"name": name if isinstance(name, str) else "", "arguments": arguments},
    }


def _calls_of_text(text: str, where: str) -> Any:
    try:
        return decode(text) if text.strip() else None
    except BadJson:
        raise BadRecord("bad_tool_calls", f"{where}: tool_calls is a text that holds no JSON") from None


def _read_assistant(raw: dict[str, Any], content: str | None, index: int, where: str) -> Message:
    message: Message = {"role": "assistant", "content": content or ""}
    raw_calls = raw.get("tool_calls")
    if isinstance(raw_calls, str):  # tables have no columns of free form
        raw_calls = _calls_of_text(raw_calls, where)
    if raw_calls is None and raw.get("function_call") is not None:  # the older form of a single call
        raw_calls = [{"function": raw["function_call"]}]
    if raw_calls is not None and not isinstance(raw_calls, list):
        raise BadRecord("bad_tool_calls", f"{where}: tool_calls is no list")
    if raw_calls:
        calls = [_read_call(call, f"call_{index}_{k}", where) for k, call in enumerate(raw_calls)]
        message |= {"content": content or None, "tool_calls": calls}
    reasoning = next((text for key in _REASONING_KEYS if isinstance(text := raw.get(key), str) and text), None)
    if reasoning is not None:
        message["reasoning_content"] = reasoning
    return message


def without_user_side(raw_messages: list[Any], left_out: Counter[str]) -> list[Any]:
    """Raw messages less the calls that the *user* made, and their results: no agent ever saw them. They are counted.

    Whose a result is says `requestor`, or else the call that it answers.
    """
    theirs: set[str] = set()
    kept: list[Any] = []
    for raw in raw_messages:
        message = as_dict(raw)
        ids = {call_id for call in objects(message.get("tool_calls")) if (call_id := as_text(call.get("id")))}
        if message.get("role") == "user" and message.get("tool_calls"):
            left_out["user_calls"] += 1
            theirs |= ids
            if message.get("content"):
                kept.append({key: value for key, value in message.items() if key != "tool_calls"})
        elif message.get("role") == "tool" and _is_users(message, theirs):
            left_out["user_call_results"] += 1
        else:
            theirs -= ids  # an agent may use an id once more
            kept.append(raw)
    return kept


def _is_users(raw: dict[str, Any], theirs: set[str]) -> bool:
    said = raw.get("requestor")
    return said == "user" if isinstance(said, str) else as_text(raw.get("tool_call_id")) in theirs


def read_messages(raw_messages: Any) -> tuple[Message, ...]:
    """Canonical messages of one trajectory.

    Raises:
        BadRecord: `messages_missing`, `bad_message`, `unknown_role`, `bad_content`, `unsupported_content` or
            `bad_tool_calls`.
    """
    if not isinstance(raw_messages, list):
        raise BadRecord("messages_missing", "`messages` is missing or no list")
    messages: list[Message] = []
    unanswered: list[str] = []
    for index, raw in enumerate(raw_messages):
        where = f"message {index}"
        if not isinstance(raw, dict):
            raise BadRecord("bad_message", f"{where} is no object")
        raw_role = raw.get("role")
        role = _ROLES.get(raw_role) if isinstance(raw_role, str) else None
        if role is None:
            raise BadRecord("unknown_role", f"{where}: role must be one of {', '.join(_ROLES)}")
        content = read_text(raw.get("content"), where)
        if role == "assistant":
            message = _read_assistant(raw, content, index, where)
            unanswered = [call["id"] for call in message.get("tool_calls", ())]
        else:
            message = {"role": role, "content": content or ""}
        if role == "tool":
            given = raw.get("tool_call_id")
            if not isinstance(given, str) or not given:
                given = unanswered[0] if unanswered else f"call_{index}"
            if given in unanswered:
                unanswered.remove(given)
            message["tool_call_id"] = given
        messages.append(message)
    return tuple(messages)


def read_tools(raw_tools: Any) -> tuple[Tool, ...]:
    """Canonical tools; accepts the chat form (`function` inside) and the flat Responses form.

    Keys with null are dropped (the Responses form requires `strict`, which chat files leave out); the order
    of the other keys is kept, for chat templates print it.

    Raises:
        BadRecord: `bad_tools`.
    """
    if raw_tools is None:
        return ()
    if not isinstance(raw_tools, list):
        raise BadRecord("bad_tools", "`tools` is no list")
    tools: list[Tool] = []
    for index, raw in enumerate(raw_tools):
        flat = raw.get("function", raw) if isinstance(raw, dict) else None
        if not isinstance(flat, dict) or not isinstance(flat.get("name"), str):
            raise BadRecord("bad_tools", f"tool {index} has no function name")
        function = {key: value for key, value in flat.items() if value is not None and key != "type"}
        tools.append({"type": "function", "function": function})
    return tuple(tools)


def action_of(message: Message) -> Action:
    """The action that a canonical assistant message is."""
    calls = tuple(
        ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls", ())
    )
    return Action(content=message["content"], calls=calls)
