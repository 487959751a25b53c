"""Reader for tau-bench few-shot examples: `{"messages_display": "user: ...\\nassistant: ...\\ntool: ..."}`.

The text says `assistant: None` where the assistant called a tool: which one, and with what, is lost. So the turns
before the first call are read, and all others are history that nobody can restore.
"""

import re
from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import BadRecord, read_messages
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.types import Tool, Trajectory

_SPEAKER = re.compile(r"^(user|assistant|tool|system): ", re.MULTILINE)
_LOST_CALL = "None"


def matches(record: dict[str, Any]) -> bool:
    """Whether a record has this format's shape."""
    return "messages_display" in record


def read(record: dict[str, Any], source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: The domain's tools.

    Raises:
        BadRecord: The record cannot be read.
    """
    text = record.get("messages_display")
    marks = list(_SPEAKER.finditer(text)) if isinstance(text, str) else []
    if not isinstance(text, str) or not marks or marks[0].start() != 0:
        raise BadRecord("messages_missing", "`messages_display` is no text that begins with a speaker")
    ends = [mark.start() - 1 for mark in marks[1:]] + [len(text)]
    raw = [
        {"role": mark[1], "content": text[mark.end() : max(end, mark.end())]}
        for mark, end in zip(marks, ends, strict=True)
    ]
    not_expert: dict[int, str] = {}
    for index, message in enumerate(raw):
        if message["role"] == "assistant" and message["content"] == _LOST_CALL:
            message["content"] = ""
            not_expert[index] = "call_not_recorded"
        elif message["role"] == "assistant" and not_expert:
            not_expert[index] = "history_without_calls"
    messages = read_messages(raw)
    return Trajectory(
        trajectory_id=trajectory_id(messages, default_tools),
        messages=messages,
        tools=default_tools,
        domain=DEFAULT_DOMAIN,
        success=None,
        source=source,
        not_expert=not_expert,
    )
