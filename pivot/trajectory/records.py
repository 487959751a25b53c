"""Records of an untrusted file: JSONL line by line, or one JSON array."""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pivot.errors import UserError
from pivot.trajectory.strict_json import BadJson, check, decode

# A record wraps messages, calls and tool schemas, so it may be deeper than a call's arguments.
RECORD_DEPTH = 128


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object of a file; `source` is `file:line`, for an array `file:number of the record`."""

    value: dict[str, Any]
    source: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """One line or array item that is no JSON object, with the machine-readable reason."""

    reason: str
    source: str


def _parse(data: bytes, max_depth: int | None = RECORD_DEPTH) -> Any:
    """The JSON value of some bytes; raises `BadJson` (also with reason `not_utf8`)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadJson("not_utf8") from None
    return decode(text, max_depth)


def _as_record(value: Any, source: str) -> Record | BadRow:
    return Record(value, source) if isinstance(value, dict) else BadRow("not_object", source)


def _read_line(line: bytes, source: str) -> Record | BadRow:
    try:
        return _as_record(_parse(line), source)
    except BadJson as error:
        return BadRow(error.reason, source)


def read_records(path: Path) -> Iterator[Record | BadRow]:
    """Yield every record of a JSONL or JSON-array file; blank lines are no records.

    A JSON array is read whole; JSONL line by line, in memory that does not grow with the file.

    Raises:
        UserError: The file cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            if _is_array(file):
                yield from _read_array(file.read(), str(path))
                return
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _read_line(line, f"{path}:{number}")
    except IsADirectoryError:
        raise UserError(f"{path}: is a directory; name the files in it") from None
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _is_array(file: BinaryIO) -> bool:
    """Whether the file is one JSON array rather than lines of which the first happens to begin with `[`."""
    first = b""
    for line in file:
        if line.strip():
            first = line
            break
    alone = not any(line.strip() for line in file)
    file.seek(0)
    if not first.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"["):
        return False
    if alone:
        return True
    try:
        _parse(first)
    except BadJson as error:
        return error.reason == "not_json"
    return False


def _read_array(data: bytes, path: str) -> Iterator[Record | BadRow]:
    try:
        items = _parse(data, max_depth=None)
    except BadJson as error:
        yield BadRow(error.reason, f"{path}:1")
        return
    for number, item in enumerate(items, 1):
        source = f"{path}:{number}"
        try:
            check(item, RECORD_DEPTH)  # item by item: one bad record must not cost the file
        except BadJson as error:
            yield BadRow(error.reason, source)
        else:
            yield _as_record(item, source)
