"""Chat messages to and from the input items of the Responses API, the form of NeMo-Gym's rows.

One assistant message may become several items (reasoning, text, calls). Reading back, items are grouped by a
rule; where the rule would not restore the messages, `spans` (items of each message) is written beside them.
"""

from collections.abc import Sequence
from typing import Any

from pivot.trajectory.messages import BadRecord, read_messages, read_text
from pivot.trajectory.types import Message, Tool

Item = dict[str, Any]


def _kind(item: Item) -> str:
    kind = item.get("type")
    if kind is None:
        return "message"  # the short form of a message: only role and content
    return kind if isinstance(kind, str) else "?"


def _items_of(message: Message) -> list[Item]:
    if message["role"] == "tool":
        return [
            {
                "type": "function_call_output",
                "call_id": message["tool_call_id"],
                "output": message["content"],
            },
        ]
    items: list[Item] = []
    if "reasoning_content" in message:
        summary = [{"type": "summary_text", "text": message["reasoning_content"]}]
        items.append({"type": "reasoning", "id": "", "summary": summary})
    if message["content"] is not None:
        items.append({"type": "message", "role": message["role"], "content": message["content"]})
    for call in message.get("tool_calls", ()):
        items.append({"type": "function_call", "call_id": call["id"], **call["function"]})
    return items


def to_items(messages: Sequence[Message]) -> tuple[list[Item], list[int] | None]:
    """Input items of canonical messages, and `spans` where grouping by rule would not restore them."""
    groups = [_items_of(message) for message in messages]
    items = [item for group in groups for item in group]
    spans = [len(group) for group in groups]
    return items, None if spans == _spans_by_rule(items) else spans


_RANK = {"reasoning": 0, "message": 1, "function_call": 2}


def _spans_by_rule(items: Sequence[Item]) -> list[int]:
    """Reasoning, text and calls that follow one another in this order are one assistant message."""
    spans: list[int] = []
    previous: int | None = None  # rank of the last item of the open assistant message
    for item in items:
        kind = _kind(item)
        is_assistant = kind in ("reasoning", "function_call") or item.get("role") == "assistant"
        rank = _RANK.get(kind, 0) if is_assistant else None
        joins = rank is not None and previous is not None and (rank > previous or rank == previous == 2)
        if joins:
            spans[-1] += 1
        else:
            spans.append(1)
        previous = rank
    return spans


def _reasoning(item: Item) -> str:
    """The summary, or where there is none the thoughts themselves."""
    parts = item.get("summary") or item.get("content")
    if not isinstance(parts, list) and item.get("summary") != []:
        raise BadRecord("bad_item", "a reasoning item has no summary list")
    texts = [part.get("text") for part in parts or () if isinstance(part, dict)]
    return "\n".join(text for text in texts if isinstance(text, str))


def _raw_assistant(group: Sequence[Item]) -> dict[str, Any]:
    """One raw chat message from the items of one assistant turn."""
    raw: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": []}
    for item in group:
        kind = _kind(item)
        if kind == "reasoning":
            raw["reasoning_content"] = _reasoning(item)
        elif kind == "function_call":
            raw["tool_calls"].append({"id": item.get("call_id"), "function": item})
        else:
            raw["content"] = read_text(item.get("content"), "an assistant item")
    return raw


def _raw_message(group: Sequence[Item]) -> dict[str, Any]:
    first = group[0]
    kind = _kind(first)
    if kind == "function_call_output":
        return {"role": "tool", "content": first.get("output"), "tool_call_id": first.get("call_id")}
    if kind in ("reasoning", "function_call") or first.get("role") == "assistant":
        return _raw_assistant(group)
    if kind != "message":
        raise BadRecord("unknown_item", f"input item of type {kind[:40]!r}")
    return first


def from_items(items: Any, spans: Any = None) -> tuple[Message, ...]:
    """Canonical messages of Responses input items.

    Args:
        items: The `input` of a row, untrusted: a list of items, or one text (a single user message).
        spans: Items of each message, if the row says so.

    Raises:
        BadRecord: `bad_input`, `bad_item`, `unknown_item`, or what `read_messages` raises.
    """
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadRecord("bad_input", "`responses_create_params.input` is no list of objects")
    if spans is None:
        spans = _spans_by_rule(items)
    valid = isinstance(spans, list) and all(type(span) is int and span > 0 for span in spans)
    if not valid or sum(spans) != len(items):
        raise BadRecord("bad_spans", "`pivot.spans` does not add up to the input items")
    raw_messages = []
    start = 0
    for span in spans:
        raw_messages.append(_raw_message(items[start : start + span]))
        start += span
    return read_messages(raw_messages)


def to_flat_tools(tools: Sequence[Tool]) -> list[Tool]:
    """Tools in the flat Responses form; its `strict` is required, null where the source has none."""
    flat = []
    for tool in tools:
        function = tool["function"]
        missing = {key: None for key in ("parameters", "strict") if key not in function}
        flat.append({"type": "function", **function, **missing})
    return flat
