"""Records of an untrusted file: JSONL, a JSON array, JSON objects or Parquet; one record in memory at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot.trajectory import parquet
from pivot.trajectory.inputs import DAMAGED, PARQUET, display_name, is_lines_name, open_bytes
from pivot.trajectory.json_stream import MAX_VALUE, BrokenStream, ByteStream, is_whole
from pivot.trajectory.strict_json import BadJson, check, decode

# A record wraps messages, calls and tool schemas, so it may be deeper than a call's arguments.
RECORD_DEPTH = 128
# A results object holds every episode of a run: its items are read one by one, each with the keys before them.
STREAMED_KEY = "simulations"
# Lines up to this length are looked at to tell JSONL from JSON that is spread over lines.
_LOOK_AHEAD = 1 << 22


WHAT_TO_DO = {
    "not_json": "this is no valid JSON; correct it or leave it out",
    "not_object": "this is JSON, but no object; write each record as one",
    "not_utf8": "the bytes are no UTF-8; write the file in it, for example with iconv",
    "not_finite": "NaN, Infinity and numbers beyond double precision are no JSON; write null",
    "lone_surrogate": "half of a surrogate pair is no text; remove it",
    "too_deep": f"it is nested deeper than {RECORD_DEPTH} levels; flatten it",
    "too_long": f"it is longer than {MAX_VALUE >> 20} MiB; is a line end or bracket missing?",
    "truncated": "the file ends inside a value; fetch it again",
    "damaged_compression": "the compressed data is damaged or ends early, the rest is lost; fetch the file again",
    "damaged_parquet": "the Parquet data is damaged or ends early, the rest is lost; fetch the file again",
    "unsupported_value": "JSON has no place for a value of this row; leave out its column",
}
"""For every reason of a `BadRow`."""


@dataclass(frozen=True, slots=True)
class Record:
    """One JSON object of a file.

    Attributes:
        value: The object.
        source: `file:line`, with `[n]` behind it for the n-th of several on one line; for Parquet `file:row`.
        position: Stored bytes of the file read so far.
    """

    value: dict[str, Any]
    source: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class BadRow:
    """One line, array item or row that is no JSON object, with the machine-readable reason (see `WHAT_TO_DO`)."""

    reason: str
    source: str
    position: int = 0


def _parse(data: bytes) -> Any:
    """The JSON value of some bytes; raises `BadJson` (also with reason `not_utf8`)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadJson("not_utf8") from None
    return decode(text, RECORD_DEPTH)


def _whole_key(items: list[Any]) -> str | None:
    """What an array is when its items are no records but the parts of one: `messages` or `history` (of events)."""
    first = items[0] if items else None
    if not isinstance(first, dict):
        return None
    if "role" in first and "content" in first:
        return "messages"
    if "source" in first and not first.keys().isdisjoint(("action", "observation", "kind")):
        return "history"
    return None


class _Reader:
    """Reads one file; remembers where it is."""

    def __init__(self, name: str, stream: ByteStream, tell: Callable[[], int]) -> None:
        self._name = name
        self._stream = stream
        self._tell = tell
        self._line = 0
        self._on_line = 0

    def _source(self, line: int) -> str:
        self._on_line = self._on_line + 1 if line == self._line else 1
        self._line = line
        return f"{self._name}:{line}" + (f"[{self._on_line}]" if self._on_line > 1 else "")

    def _bad(self, reason: str, line: int) -> BadRow:
        return BadRow(reason, self._source(line), self._tell())

    def _record(self, value: Any, line: int) -> Record | BadRow:
        if isinstance(value, list) and (key := _whole_key(value)) is not None:
            value = {key: value}
        if not isinstance(value, dict):
            return self._bad("not_object", line)
        return Record(value, self._source(line), self._tell())

    def _parsed(self, data: bytes, line: int) -> Record | BadRow:
        try:
            return self._record(_parse(data), line)
        except BadJson as error:
            return self._bad(error.reason, line)

    def read(self) -> Iterator[Record | BadRow]:
        try:
            self._stream.skip_mark()
            if self._by_line():
                yield from self._lines()
            else:
                yield from self._values()
        except BrokenStream as error:
            yield self._bad(error.reason, self._stream.line)
        except DAMAGED:
            yield self._bad("damaged_compression", self._stream.line)

    def _by_line(self) -> bool:
        """Whether each line is a record, rather than JSON values spread over lines."""
        first = self._stream.peek()
        if first not in (b"{", b"["):
            return True
        head = self._stream.head(2, _LOOK_AHEAD)
        alone = len(head) == 1 and self._stream.ended
        if first == b"[":  # a line with an array, and more behind it; an array spread over lines opens with less
            return bool(head) and not alone and _is_json(head[0])
        if not head and not self._stream.ended:  # the first line is longer than that
            return is_lines_name(self._name)
        # An object spread over lines has no whole object on its second one, a broken first record has.
        return alone or any(_is_json(line) for line in head)

    def _lines(self) -> Iterator[Record | BadRow]:
        while True:
            line = self._stream.line
            try:
                data = self._stream.read_line()
            except BrokenStream as error:
                yield self._bad(error.reason, line)
                continue
            if not data:
                return
            if data.strip():
                yield self._parsed(data, line)

    def _values(self) -> Iterator[Record | BadRow]:
        while first := self._stream.peek():
            if first == b"[":
                yield from self._array()
            elif first == b"{":
                yield from self._object()
            else:
                raise BrokenStream("not_json")

    def _array(self) -> Iterator[Record | BadRow]:
        parts: list[Any] = []
        key: str | None = None
        start = self._stream.line
        for number, (line, data) in enumerate(self._stream.items()):
            if number == 0:
                key = _first_key(data)
            if key is None:
                yield self._parsed(data, line)
                continue
            try:
                parts.append(_parse(data))
            except BadJson as error:
                yield self._bad(error.reason, line)
                key, parts = None, []
        if key is not None:
            yield self._record({key: parts}, start)

    def _object(self) -> Iterator[Record | BadRow]:
        """One object; of the streamed key every item is yielded as an object of its own, with the keys before it."""
        start = self._stream.line
        header: dict[str, Any] = {}
        reason: str | None = None
        first, streamed = True, False
        self._stream.expect(b"{")
        while self._stream.peek() != b"}":
            if not first:
                self._stream.expect(b",")
            first = False
            key = self._stream.value()
            self._stream.expect(b":")
            if key.strip(b'"') == STREAMED_KEY.encode() and not streamed and self._stream.peek() == b"[":
                for line, data in self._stream.items():
                    streamed = True
                    if reason is None:
                        yield self._streamed(header, data, line)
                if not streamed:
                    header[STREAMED_KEY] = []
                continue
            value = self._stream.value()
            try:
                name = _parse(key)
                if not isinstance(name, str):
                    raise BadJson("not_json")
                header[name] = _parse(value)
            except BadJson as error:
                reason = reason or error.reason
        self._stream.expect(b"}")
        if reason is not None:
            yield self._bad(reason, start)
        elif not streamed:
            yield self._checked(header, start)

    def _streamed(self, header: dict[str, Any], data: bytes, line: int) -> Record | BadRow:
        try:
            return self._record({**header, STREAMED_KEY: [_parse(data)]}, line)
        except BadJson as error:
            return self._bad(error.reason, line)

    def _checked(self, value: dict[str, Any], line: int) -> Record | BadRow:
        try:
            check(value, RECORD_DEPTH)
        except BadJson as error:
            return self._bad(error.reason, line)
        return self._record(value, line)


def _is_json(line: bytes) -> bool:
    """Whether a line is a JSON value by itself, usable or not."""
    try:
        _parse(line)
    except BadJson as error:
        return error.reason not in ("not_json", "not_utf8") and is_whole(line)
    return True


def _first_key(data: bytes) -> str | None:
    try:
        return _whole_key([_parse(data)])
    except BadJson:
        return None


def read_records(path: Path) -> Iterator[Record | BadRow]:
    """Yield every record of a file (or of stdin, `-`); blank lines are no records.

    Lines, items of an array and items of `simulations` are read one by one, so that memory does not grow with the
    file. An array of chat messages or of agent events is one record. `.gz` and `.zst` are read as they are.

    Raises:
        UserError: The file cannot be opened or read.
    """
    if path.suffix.lower() == PARQUET:
        name = display_name(path)
        for number, (row, position) in enumerate(parquet.read_rows(path), 1):
            source = f"{name}:{number}"
            yield BadRow(row, source, position) if isinstance(row, str) else Record(row, source, position)
        return
    with open_bytes(path) as (read, tell):
        yield from _Reader(display_name(path), ByteStream(read), tell).read()
