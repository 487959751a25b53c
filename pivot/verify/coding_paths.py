"""Paths and line ranges of coding agents' calls."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST_PATH = 4096
_MOST_TOKENS = 2000
_TOKEN = re.compile(r"[\s;|&<>()'\"`=,]+")
_FILE = re.compile(r"[\w.\-]{1,100}\.[A-Za-z][A-Za-z0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a file, both ends included; an end of None is the file's."""

    start: int
    end: int | None

    def coverage(self, wanted: "Lines") -> float:
        """Which share of the wanted lines these hold; 0 where that depends on a file's unknown length."""
        if wanted.end is None:
            return float(self.end is None and self.start <= wanted.start)
        if wanted.end < wanted.start:
            return 0.0
        end = wanted.end if self.end is None else min(self.end, wanted.end)
        return max(0, end - max(self.start, wanted.start) + 1) / (wanted.end - wanted.start + 1)


_NOTHING = Lines(1, 0)
_RANGES = "view_range line_range lines range".split()
_STARTS = "start_line line_start start startLine start_line_one_indexed offset".split()
_ENDS = "end_line line_end end endLine end_line_one_indexed_inclusive".split()


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_lines(arguments: Mapping[str, Any]) -> Lines | None:
    """The lines that arguments name; None where they name none, an empty range where it makes no sense."""
    for key in _RANGES:
        value = arguments.get(key)
        if value is None or (key != "view_range" and not isinstance(value, list)):
            continue
        ends = [_number(item) for item in value] if isinstance(value, list) else []
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            return _NOTHING
        return Lines(ends[0], None if ends[1] == -1 else ends[1])
    start = next((found for key in _STARTS if (found := _number(arguments.get(key))) is not None), None)
    end = next((found for key in _ENDS if (found := _number(arguments.get(key))) is not None), None)
    if start is None and end is None:
        return None
    limit = _number(arguments.get("limit"))
    if end is None and limit is not None and start is not None:
        end = start + limit - 1
    return Lines(1 if start is None else start, None if end == -1 else end)


def components(path: str) -> tuple[str, ...]:
    """A path's components, without empty ones and `.`; `a/../b` is `b`."""
    found: list[str] = []
    for part in path[:_LONGEST_PATH].strip().split("/"):
        if part == ".." and found and found[-1] != "..":
            found.pop()
        elif part not in ("", "."):
            found.append(part)
    return tuple(found)


def same_end(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the shorter of two paths is the other one's end; an empty one is only that of an empty one."""
    shared = min(len(one), len(other))
    return one == other if shared == 0 else one[-shared:] == other[-shared:]


def command_paths(command: str) -> Iterator[tuple[str, ...]]:
    """The components of whatever looks like a path in a command: it has a slash, or an ending like a file's."""
    for token in _TOKEN.split(command, maxsplit=_MOST_TOKENS)[:_MOST_TOKENS]:
        if not token.startswith("-") and ("/" in token or _FILE.fullmatch(token)):
            found = components(token)
            if found:
                yield found
