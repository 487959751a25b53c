"""Turns of the Terminus harnesses: what a completion types into the terminal, and whether it calls the task done.

terminus_1   {state_analysis, explanation, commands: [{keystrokes, is_blocking, timeout_sec}], is_task_complete}
terminus_2   {analysis, plan, commands: [{keystrokes, duration?}], task_complete?}

Keys beyond these are allowed: they change nothing that is typed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import BadJson, decode_object, decode_prefix
from pivot.trajectory.types import Action

TERMINUS_1, TERMINUS_2 = "terminus_1", "terminus_2"
_END_OF_THOUGHT = "</think>"
_LONGEST = 2_000_000
_MOST_OPENINGS = 16

_TEXT, _BOOLEAN, _NUMBER, _LIST = "text", "boolean", "number", "list"
_TURN: Mapping[str, Mapping[str, str]] = {
    TERMINUS_1: {"state_analysis": _TEXT, "explanation": _TEXT, "commands": _LIST, "is_task_complete": _BOOLEAN},
    TERMINUS_2: {"analysis": _TEXT, "plan": _TEXT, "commands": _LIST, "task_complete?": _BOOLEAN},
}
_COMMAND: Mapping[str, Mapping[str, str]] = {
    TERMINUS_1: {"keystrokes": _TEXT, "is_blocking": _BOOLEAN, "timeout_sec": _NUMBER},
    TERMINUS_2: {"keystrokes": _TEXT, "duration?": _NUMBER},
}
_COMPLETE = {TERMINUS_1: "is_task_complete", TERMINUS_2: "task_complete"}


class BadTurn(ValueError):
    """An action that is no turn of a harness; `reason` is machine-readable and holds nothing of the action."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Turn:
    """What a completion does.

    Attributes:
        harness: `terminus_1` or `terminus_2`.
        entries: The keystrokes of each command.
        complete: Whether it calls the task done.
    """

    harness: str
    entries: tuple[str, ...]
    complete: bool

    @property
    def keystrokes(self) -> str:
        """All that it types."""
        return "".join(self.entries)


def read_turn(action: Action, harness: str | None, text_around: bool) -> Turn:
    """The turn that an action is.

    Args:
        action: Untrusted.
        harness: Whose form it must have; None takes the form from the action's own keys.
        text_around: Whether text before and behind the JSON object is ignored, as Terminus 2 does.

    Raises:
        BadTurn: `malformed`, `calls`, `empty`, `too_long`, what `strict_json` says, or `missing` or `type` with the
            first such key in the schema's order.
    """
    if action.malformed is not None:
        raise BadTurn("malformed")
    if action.calls:
        raise BadTurn("calls")
    value = _read_object(action.content or "", text_around)
    if harness is None:
        harness = TERMINUS_1 if {"state_analysis", "explanation", "is_task_complete"} & value.keys() else TERMINUS_2
    _check(value, _TURN[harness], "")
    for command in value["commands"]:
        if not isinstance(command, dict):
            raise BadTurn("type.commands")
        _check(command, _COMMAND[harness], "commands.")
    entries = tuple(command["keystrokes"] for command in value["commands"])
    return Turn(harness, entries, value.get(_COMPLETE[harness], False))


def _read_object(content: str, text_around: bool) -> dict[str, Any]:
    if len(content) > _LONGEST:
        raise BadTurn("too_long")
    whole = content.strip()
    visible = whole.rpartition(_END_OF_THOUGHT)[2].strip()
    # What ends a thought may also be typed: an object that holds it is read before it is cut there.
    for answer in (whole, whole.partition(_END_OF_THOUGHT)[2].strip()):
        if answer != visible and answer.startswith("{"):
            try:
                return decode_object(answer)
            except BadJson:
                continue
    if not visible:
        raise BadTurn("empty")
    try:
        return decode_object(visible)
    except BadJson as error:
        reason = error.reason
    found = _find_object(visible) if text_around else None
    if found is None:
        raise BadTurn(reason)
    return found


def _find_object(text: str) -> dict[str, Any] | None:
    """The first JSON object with commands in a text."""
    for opening in list(re.finditer(r"\{", text[:_LONGEST]))[:_MOST_OPENINGS]:
        try:
            value, _ = decode_prefix(text, opening.start())
        except BadJson:
            continue
        if isinstance(value, dict) and "commands" in value:
            return value
    return None


def _check(value: Mapping[str, Any], schema: Mapping[str, str], where: str) -> None:
    for key, wanted in schema.items():
        name = key.removesuffix("?")
        if name not in value:
            if name == key:
                raise BadTurn(f"missing.{where}{name}")
        elif not _is(value[name], wanted):
            raise BadTurn(f"type.{where}{name}")


def _is(value: Any, wanted: str) -> bool:
    if wanted == _NUMBER:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, {_TEXT: str, _BOOLEAN: bool, _LIST: list}[wanted])
