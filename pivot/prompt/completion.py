"""Assistant text to Action and back, in the Hermes/Qwen form.

A call is `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
"""

import json

from pivot.prompt.thinking import strip_thinking
from pivot.trajectory.strict_json import BadJson, decode, decode_object
from pivot.trajectory.types import Action, ToolCall

Tags = tuple[str, str]

HERMES: Tags = ("<tool_call>", "</tool_call>")
MOST_CALLS = 256
"""In one completion; more are no plan of an expert's, and take time."""

_END = "<|im_end|>"
# A call is an object around its arguments.
_CALL_DEPTH = 65


class Malformed(ValueError):
    """Assistant text that is no action; `reason` is machine-readable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _read_call(body: str) -> ToolCall:
    """The call that the text between two tags is."""
    try:
        value = decode(body, _CALL_DEPTH)
    except BadJson as error:
        raise Malformed(error.reason) from None
    if not isinstance(value, dict):
        raise Malformed("not_object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise Malformed("missing_name")
    if "arguments" not in value:
        raise Malformed("missing_arguments")
    if not isinstance(value["arguments"], dict):
        raise Malformed("arguments_not_object")
    return ToolCall(name, json.dumps(value["arguments"], ensure_ascii=False))


def read_calls(visible: str, tags: Tags = HERMES) -> Action:
    """The action that text without thoughts is, calls being JSON objects between `tags`.

    A call ends at the first closing tag, also inside a string, and what follows the last one is dropped: as vLLM's
    `hermes` parser does, with which this one agrees on every text that it accepts.

    Raises:
        Malformed: with the reasons that `parse_completion` lists, thoughts aside.
    """
    opening, closing = tags
    first = opened = visible.find(opening)
    if first == -1:
        if closing in visible:
            raise Malformed("unopened_tool_call")
        return Action(visible.strip())
    calls = []
    while opened != -1:
        start = opened + len(opening)
        end = visible.find(closing, start)
        if end == -1:
            raise Malformed("unclosed_tool_call")
        calls.append(_read_call(visible[start:end]))
        if len(calls) > MOST_CALLS:
            raise Malformed("too_many_calls")
        opened = visible.find(opening, end + len(closing))
    return Action(visible[:first].strip() or None, tuple(calls))


def parse_completion(text: str) -> Action:
    """The action that an assistant completion in the Hermes form is, without an engine's parser. Never raises.

    Thoughts are dropped; text before the first call is kept as content, text after it is dropped. One broken call
    makes the whole action malformed, where vLLM's parser would call it a message or complete it.

    Args:
        text: Completion as generated, special tokens included or not.

    Returns:
        The action. When malformed its `content` is the visible text, `calls` is empty and `malformed` is one
        of `unclosed_think`, `unclosed_tool_call`, `unopened_tool_call`, `not_json`, `not_object`,
        `missing_name`, `missing_arguments`, `arguments_not_object`, `too_many_calls`,
        `too_deep`, `not_finite`, `lone_surrogate`.
    """
    body = text.strip().removesuffix(_END).strip()
    visible = strip_thinking(body)
    if visible is None:
        return Action(content=body, malformed="unclosed_think")
    try:
        return read_calls(visible)
    except Malformed as error:
        return Action(content=visible.strip(), malformed=error.reason)


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
        parts.append(f'{HERMES[0]}\n{{"name": {name}, "arguments": {normal_arguments(call.arguments)}}}\n{HERMES[1]}')
    return "\n".join(parts)
