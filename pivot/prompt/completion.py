"""Assistant text to Action and back, in the Hermes/Qwen form.

A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
"""

import json
import re

from pivot.trajectory.strict_json import BadJson, decode_object, decode_prefix
from pivot.trajectory.types import Action, ToolCall

OPEN, CLOSE = "<tool_call>", "</tool_call>"
_THINK_TAG = re.compile("</?think>")
_END = "<|im_end|>"
_JSON_SPACE = " \t\r\n"
# A call is an object around its arguments.
_CALL_DEPTH = 65


class _Malformed(ValueError):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def strip_thinking(text: str) -> str | None:
    """Text without `<think>…</think>`; None when a thought is never closed.

    A `</think>` without its opening ends a thought that the prompt had opened, as thinking templates do.
    """
    kept: list[str] = []
    start = 0
    thinking = False
    for tag in _THINK_TAG.finditer(text):
        if tag.group() == "<think>":
            if not thinking:
                kept.append(text[start : tag.start()])
            thinking = True
            continue
        if not thinking:
            kept.clear()
        thinking = False
        start = tag.end()
    if thinking:
        return None
    kept.append(text[start:])
    return "".join(kept)


def _skip_space(text: str, index: int) -> int:
    while index < len(text) and text[index] in _JSON_SPACE:
        index += 1
    return index


def _read_call(text: str, start: int) -> tuple[ToolCall, int]:
    """The call whose JSON begins after `start`, and the index after its closing tag."""
    try:
        value, end = decode_prefix(text, _skip_space(text, start), _CALL_DEPTH)
    except BadJson as error:
        if error.reason == "not_json" and text.find(CLOSE, start) == -1:
            raise _Malformed("unclosed_tool_call") from None
        raise _Malformed(error.reason) from None
    end = _skip_space(text, end)
    if not text.startswith(CLOSE, end):
        raise _Malformed("unclosed_tool_call" if text.find(CLOSE, end) == -1 else "not_json")
    if not isinstance(value, dict):
        raise _Malformed("not_object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise _Malformed("missing_name")
    if "arguments" not in value:
        raise _Malformed("missing_arguments")
    if not isinstance(value["arguments"], dict):
        raise _Malformed("arguments_not_object")
    arguments = json.dumps(value["arguments"], ensure_ascii=False)
    return ToolCall(name, arguments), end + len(CLOSE)


def _read_calls(text: str, first: int) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    opened = first
    while opened != -1:
        call, end = _read_call(text, opened + len(OPEN))
        calls.append(call)
        opened = text.find(OPEN, end)
    return tuple(calls)


def parse_completion(text: str) -> Action:
    """The action that an assistant completion is. Never raises.

    Thoughts are dropped; text before the first call is kept as content, text after it is dropped, as vLLM's
    `hermes` parser does. Unlike that parser, one broken call makes the whole action malformed instead of a
    message.

    Args:
        text: Completion as generated, special tokens included or not.

    Returns:
        The action. When malformed its `content` is the visible text, `calls` is empty and `malformed` is one
        of `unclosed_think`, `unclosed_tool_call`, `unopened_tool_call`, `not_json`, `not_object`,
        `missing_name`, `missing_arguments`, `arguments_not_object`, `too_deep`, `not_finite`,
        `lone_surrogate`.
    """
    body = text.strip().removesuffix(_END).strip()
    visible = strip_thinking(body)
    if visible is None:
        return Action(content=body, malformed="unclosed_think")
    visible = visible.strip()
    first = visible.find(OPEN)
    if first == -1:
        return Action(content=visible, malformed="unopened_tool_call" if CLOSE in visible else None)
    try:
        calls = _read_calls(visible, first)
    except _Malformed as error:
        return Action(content=visible, malformed=error.reason)
    return Action(content=visible[:first].strip() or None, calls=calls)


def normal_arguments(arguments: str) -> str:
    """Arguments as chat templates print them: decoded and written again; unreadable text stays as it is."""
    try:
        return json.dumps(decode_object(arguments), ensure_ascii=False)
    except BadJson:
        return arguments


def render_action(action: Action) -> str:
    """Assistant text of an action, as a Hermes/Qwen chat template prints it, without the end-of-turn token.

    `parse_completion` reads it back, except content that itself looks like a call or a thought.
    """
    parts = [action.content] if action.content else []
    for call in action.calls:
        name = json.dumps(call.name, ensure_ascii=False)
        parts.append(f'{OPEN}\n{{"name": {name}, "arguments": {normal_arguments(call.arguments)}}}\n{CLOSE}')
    return "\n".join(parts)
