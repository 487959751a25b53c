"""What a chat template silently leaves out, found by rendering marks in the place of a history's texts.

A template is a program: whether it prints an older thought, a text beside calls or the tools at all depends on where
they stand, never on their words. So one rendering of the same shape of history, with a mark in every place, tells for
all histories of that shape. It costs a rendering of a few hundred characters, no tokenising, once a shape.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from pivot.prompt.thinking import CLOSE_THOUGHT, OPEN_THOUGHT, split_thought
from pivot.trajectory.types import Message

Render = Callable[[Sequence[Message], Sequence[dict[str, Any]]], str]

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
_MARK = re.compile(r"zq\d+qz")
_SHAPES = 4096
_LOST = {
    "system": "template_drops_system",
    "user": "template_drops_text",
    "assistant": "template_drops_text",
    "tool": "template_drops_tool_results",
}


class PromptError(ValueError):
    """A history that becomes no prompt.

    Attributes:
        reason: `refused_by_chat_template` (the message is the template's own) or `over_long_history`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Marks:
    """Hands out marks and remembers which note each stands for."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def new(self, note: str) -> str:
        mark = f"zq{len(self.notes)}qz"
        self.notes[mark] = note
        return mark

    def lost(self, text: str) -> tuple[str, ...]:
        """Notes of the marks that `text` lacks, each once."""
        printed = set(_MARK.findall(text))
        return tuple(sorted({note for mark, note in self.notes.items() if mark not in printed}))


def shape(message: Message) -> tuple[Any, ...]:
    """What a template can branch on in a message, short of its words."""
    content = message.get("content") or ""
    thought, rest = split_thought(content) if message["role"] == "assistant" else ("", content)
    key = next((key for key in REASONING_KEYS if message.get(key)), None)
    calls = [isinstance(call["function"]["arguments"], str) for call in message.get("tool_calls") or ()]
    return (message["role"], bool(thought), thought.startswith(OPEN_THOUGHT), bool(rest.strip()), key, *calls)


class TemplateProbe:
    """Answers what one template leaves out, remembering the answer for each shape of history."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._known: dict[tuple[Any, ...], tuple[str, ...]] = {}
        self._reasoning_key: str | None = None
        self._asked_reasoning = False
        self._null_is_empty: bool | None = None

    def dropped(self, messages: Sequence[Message], tools: bool) -> tuple[str, ...]:
        """Notes of what the template leaves out of a history that it has rendered.

        Args:
            messages: As they are given to the template.
            tools: Whether tools are given too.
        """
        key = (tools, *(shape(message) for message in messages))
        if key not in self._known:
            if len(self._known) >= _SHAPES:
                self._known.clear()
            self._known[key] = self._ask(messages, tools)
        return self._known[key]

    def _ask(self, messages: Sequence[Message], tools: bool) -> tuple[str, ...]:
        marks = _Marks()
        try:
            text = self._render([_marked(m, marks) for m in messages], [_marked_tool(marks)] if tools else [])
        except PromptError:
            return ("template_not_checked",)  # it looks at the words after all
        return marks.lost(text)

    def reasoning_key(self) -> str | None:
        """The key under which the template reads a thought; None when it reads none."""
        if not self._asked_reasoning:
            self._asked_reasoning = True
            self._reasoning_key = next((key for key in REASONING_KEYS if self._reads(key)), None)
        return self._reasoning_key

    def _reads(self, key: str) -> bool:
        question = {"role": "user", "content": "q"}
        for more in ({"content": "a"}, {"content": "", "tool_calls": [_CALL]}):
            turn = {"role": "assistant", **more, key: "zq0qz"}
            after = [{"role": "tool", "content": "r", "tool_call_id": _CALL["id"]}] if "tool_calls" in more else []
            try:
                if "zq0qz" in self._render([question, turn, *after], []):
                    return True
            except PromptError:
                continue
        return False

    def null_is_empty(self) -> bool:
        """Whether the template takes null for the text of a message with calls as it takes no text."""
        if self._null_is_empty is None:
            self._null_is_empty = self._with_content("") == self._with_content(None)
        return self._null_is_empty

    def _with_content(self, content: str | None) -> str | None:
        turn = {"role": "assistant", "content": content, "tool_calls": [_CALL]}
        result = {"role": "tool", "content": "r", "tool_call_id": _CALL["id"]}
        try:
            return self._render([{"role": "user", "content": "q"}, turn, result], [])
        except PromptError as error:
            return None if content is None else str(error)


_CALL: dict[str, Any] = {"id": "callaaaa1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}


def _marked(message: Message, marks: _Marks) -> Message:
    role = message["role"]
    marked = dict(message)
    content = message.get("content") or ""
    thought, rest = split_thought(content) if role == "assistant" else ("", content)
    text = marks.new(_LOST[role]) if rest.strip() else rest
    if thought:
        opened = OPEN_THOUGHT if thought.startswith(OPEN_THOUGHT) else ""
        text = f"{opened}\n{marks.new('template_drops_thinking')}\n{CLOSE_THOUGHT}\n\n{text}"
    marked["content"] = text
    for key in REASONING_KEYS:
        if message.get(key):
            marked[key] = marks.new("template_drops_thinking")
    if message.get("tool_calls"):
        marked["tool_calls"] = [_marked_call(call, marks) for call in message["tool_calls"]]
    return marked


def _marked_call(call: dict[str, Any], marks: _Marks) -> dict[str, Any]:
    value = marks.new("template_drops_tool_calls")
    as_text = isinstance(call["function"]["arguments"], str)
    arguments = json.dumps(value) if as_text else {"a": value}
    return {**call, "function": {"name": marks.new("template_drops_tool_calls"), "arguments": arguments}}


def _marked_tool(marks: _Marks) -> dict[str, Any]:
    described = marks.new("template_drops_tool_descriptions")
    parameters = {"type": "object", "properties": {marks.new("template_drops_tool_descriptions"): {"type": "string"}}}
    function = {"name": marks.new("template_drops_tools"), "description": described, "parameters": parameters}
    return {"type": "function", "function": function}
