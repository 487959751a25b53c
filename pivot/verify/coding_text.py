"""Actions that are text: a thought, then a command between ``` fences, as SWE-agent and mini-swe-agent have them."""

import re
import shlex
from typing import Any

from pivot.verify.coding_paths import Lines
from pivot.verify.coding_tools import Step, read_step

_LONGEST = 200_000
_LONGEST_LINE = 4096
_FENCE = "```"
_LANGUAGES = ("", "bash", "sh", "shell", "mswea_bash_command")
_END_OF_EDIT = "end_of_edit"
_EDIT = re.compile(r"edit[ \t]{1,8}(\d{1,9}):(\d{1,9})[ \t]{0,8}")
_CLOSED_THOUGHT = "</think>"


class NoCommand(ValueError):
    """A text without a command; `reason` is machine-readable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def last_block(text: str) -> str:
    """The last fenced block of a text; raises `NoCommand`: `no_block`, `open_block`, `too_long`, `language`."""
    if len(text) > _LONGEST:
        raise NoCommand("too_long")
    _, closed, visible = text.rpartition(_CLOSED_THOUGHT)
    lines = visible.split("\n")
    fences = [at for at, line in enumerate(lines) if line.startswith(_FENCE)]
    if not fences:
        raise NoCommand("no_block")
    if len(fences) % 2:
        raise NoCommand("open_block")
    if lines[fences[-2]][len(_FENCE) :].strip() not in _LANGUAGES:
        raise NoCommand("language")
    return "\n".join(lines[fences[-2] + 1 : fences[-1]])


def read_command(text: str) -> Step:
    """The step of a text action; raises `NoCommand` as `last_block` does, and `empty`."""
    command = last_block(text).strip("\n")
    if not command.strip():
        raise NoCommand("empty")
    first, _, rest = command.partition("\n")
    if found := _EDIT.fullmatch(first):
        return _window_edit(int(found[1]), int(found[2]), rest)
    if not rest.strip() or first.startswith("str_replace_editor"):
        words = _words(command if first.startswith("str_replace_editor") else first)
        known = words and _COMMANDS.get(words[0])
        if known and (arguments := known(words[1:])) is not None:
            return read_step(words[0], arguments)
    return read_step("bash", {"command": command})


def _window_edit(start: int, end: int, rest: str) -> Step:
    body, _, _ = rest.rpartition(_END_OF_EDIT)
    new = (body if body or rest.startswith(_END_OF_EDIT) else rest).removesuffix("\n")
    return Step(
        "edit", "edit", "replace_lines", lines=Lines(start, end), new=new,
        arguments={"start": start, "end": end, "text": new},
    )  # fmt: skip


def _words(text: str) -> list[str]:
    if len(text) > _LONGEST_LINE:
        return []
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is never closed
        return []


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


Arguments = dict[str, Any] | None


def _open(words: list[str]) -> Arguments:
    if len(words) == 1:
        return {"path": words[0]}
    if len(words) == 2 and (line := _whole(words[1])) is not None:
        return {"path": words[0], "line_number": line}
    return None


def _goto(words: list[str]) -> Arguments:
    return {"line_number": _whole(words[0])} if len(words) == 1 and _whole(words[0]) is not None else None


def _create(words: list[str]) -> Arguments:
    return {"path": words[0], "file_text": ""} if len(words) == 1 else None


def _search(words: list[str]) -> Arguments:
    if len(words) == 1:
        return {"pattern": words[0]}
    return {"pattern": words[0], "path": words[1]} if len(words) == 2 else None


def _alone(words: list[str]) -> Arguments:
    return None if words else {}


def _submit(words: list[str]) -> Arguments:
    return {"answer": " ".join(words)} if words else {}


def _editor(words: list[str]) -> Arguments:
    """`str_replace_editor view /a.py --view_range 1 20`."""
    if len(words) < 2:
        return None
    found: dict[str, Any] = {"command": words[0], "path": words[1]}
    at = 2
    while at < len(words):
        name, equals, value = words[at].removeprefix("--").partition("=")
        values = [value] if equals else []
        at += 1
        while at < len(words) and not words[at].startswith("--"):
            values.append(words[at])
            at += 1
        if name in ("view_range", "insert_line"):
            numbers = [-1 if item == "-1" else _whole(item) for item in " ".join(values).strip("[]").replace(",", " ").split()]
            found[name] = numbers if name == "view_range" else (numbers or [None])[0]
        else:
            found[name] = " ".join(values)
    return found


_COMMANDS = {
    "open": _open, "goto": _goto, "scroll_up": _alone, "scroll_down": _alone, "create": _create, "search_dir": _search,
    "search_file": _search, "find_file": _search, "submit": _submit, "str_replace_editor": _editor,
}  # fmt: skip
