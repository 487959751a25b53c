"""Content hashes: what a candidate *is*, whatever file, order or call ids it came with."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pivot.trajectory.messages import action_of
from pivot.trajectory.types import Action, Message, Tool

_DIGITS = 24


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no spaces, ASCII escapes: the same bytes for the same value on every machine."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def message_digest(message: Message) -> str:
    """24 hex digits of one message without its random call ids."""
    return hashlib.sha256(canonical_json(_CallNames().rename(message))).hexdigest()[:_DIGITS]


def tools_digest(tools: Iterable[Tool]) -> str:
    """24 hex digits of the tools. Their key order counts, for chat templates print tools as they stand."""
    text = json.dumps(list(tools), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:_DIGITS]


class _CallNames:
    """Replaces call ids by the order of their first appearance: providers make them up at random."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def _name(self, call_id: str) -> str:
        return self._names.setdefault(call_id, str(len(self._names)))

    def rename(self, message: Message) -> Message:
        renamed = dict(message)
        if "tool_calls" in message:
            renamed["tool_calls"] = [{**call, "id": self._name(call["id"])} for call in message["tool_calls"]]
        if "tool_call_id" in message:
            renamed["tool_call_id"] = self._name(message["tool_call_id"])
        return renamed


class HistoryHash:
    """Running hash of a growing history, so that all candidates of a trajectory cost one pass over it."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._hash = hashlib.sha256(tools_digest(tools).encode("ascii"))
        self._names = _CallNames()

    def add(self, message: Message) -> None:
        """Append one canonical message."""
        self._hash.update(b"\n" + canonical_json(self._names.rename(message)))

    def candidate_id(self, expected: Action) -> str:
        """24 hex digits for the history so far followed by this action."""
        final = self._hash.copy()
        calls = [[call.name, call.arguments] for call in expected.calls]
        final.update(b"\naction\n" + canonical_json([expected.content, calls]))
        return final.hexdigest()[:_DIGITS]


def candidate_id(messages: Iterable[Message], tools: Sequence[Tool], expected: Action) -> str:
    """Content hash (24 hex digits of SHA-256) of history + tools + action."""
    history = HistoryHash(tools)
    for message in messages:
        history.add(message)
    return history.candidate_id(expected)


def opening_id(messages: Iterable[Message], expected: Action | None = None) -> str | None:
    """Content hash (24 hex digits) of a conversation up to the first answer to a user; None when there is none.

    Conversations that share any later turn share it. Tools, thoughts and the text beside calls do not count: of the
    same conversation, rows that were cut elsewhere hold less.

    Args:
        messages: A whole trajectory, or the history of a turn.
        expected: The action after that history.
    """
    history = HistoryHash(())
    asked = False
    for message in messages:
        if asked and message["role"] == "assistant":
            return history.candidate_id(_bare(action_of(message)))
        asked = asked or message["role"] == "user"
        history.add(message)
    return history.candidate_id(_bare(expected)) if asked and expected is not None else None


def _bare(action: Action) -> Action:
    return Action(None, action.calls) if action.calls else action


def trajectory_id(messages: Iterable[Message], tools: Sequence[Tool]) -> str:
    """Content hash (24 hex digits) for a trajectory whose source gives it no name."""
    return candidate_id(messages, tools, Action(content=None))
