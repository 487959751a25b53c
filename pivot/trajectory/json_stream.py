"""JSON from a stream of bytes, value by value: memory holds one value, however long the file is.

The end of a value is found from brackets and strings alone, without decoding it. So a record that is no valid JSON
costs itself and not the ones behind it, and a huge array or object never has to be held whole.
"""

import re
from collections.abc import Callable, Iterator

CHUNK = 1 << 18
# No record is longer than this: a file without any line end or bracket must not fill the memory.
MAX_VALUE = 1 << 28

_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR_END = re.compile(rb"[,\]} \t\r\n]")
# A whole string, the quote of one whose end is not there yet, or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\]]', re.DOTALL)
_QUOTE, _OPENING, _CLOSING = ord('"'), b"{[", b"}]"


class BrokenStream(ValueError):
    """The structure cannot be followed any further; `reason` is machine-readable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ByteStream:
    """A byte stream with look-ahead that counts its lines.

    Args:
        read: Returns up to so many bytes; empty at the end.

    Attributes:
        line: Number of the line that the next byte is on, from 1.
        ended: Whether everything is held that there is.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._data = b""
        self._at = 0
        self.line = 1
        self.ended = False

    def more(self) -> bool:
        """Hold more bytes; False at the end. It reads as much as it holds, so that long values cost linear time."""
        if self.ended:
            return False
        held = self._data[self._at :]
        chunk = self._read(max(CHUNK, len(held)))
        self.ended = not chunk
        self._data, self._at = held + chunk, 0
        return not self.ended

    def head(self, lines: int, limit: int) -> list[bytes]:
        """The next lines that are not blank, left in the stream; fewer where the stream or `limit` ends."""
        while True:
            found = [line for line in self._data[self._at :].split(b"\n") if line.strip()]
            complete = len(found) - (0 if self.ended else 1)
            if complete >= lines or len(self._data) - self._at > limit:
                return found[: min(lines, max(complete, 0))]
            if not self.more():
                return found[:lines]

    def _take(self, end: int) -> bytes:
        taken = self._data[self._at : end]
        self._at = end
        self.line += taken.count(b"\n")
        return taken

    def read_line(self) -> bytes:
        """The next line with its end, empty at the end of the stream; raises `BrokenStream("too_long")`.

        The rest of a line that is too long is passed over.
        """
        searched = self._at
        while (end := self._data.find(b"\n", searched)) < 0:
            held = len(self._data) - self._at
            if held > MAX_VALUE:
                self._pass_line()
                raise BrokenStream("too_long")
            if not self.more():
                return self._take(len(self._data))
            searched = held
        return self._take(end + 1)

    def _pass_line(self) -> None:
        while (end := self._data.find(b"\n", self._at)) < 0:
            self._at = len(self._data)
            if not self.more():
                return
        self._take(end + 1)

    def peek(self) -> bytes:
        """The next byte behind any white space, left in the stream; empty at the end."""
        while True:
            match = _SPACE.match(self._data, self._at)
            self._take(match.end() if match else self._at)
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self.more():
                return b""

    def skip_mark(self) -> None:
        """Pass over a byte order mark."""
        while len(self._data) - self._at < 3 and self.more():
            pass
        if self._data.startswith(b"\xef\xbb\xbf", self._at):
            self._at += 3

    def expect(self, mark: bytes) -> None:
        """Pass over this one byte; raises `BrokenStream` when another one comes."""
        found = self.peek()
        if found != mark:
            raise BrokenStream("not_json" if found else "truncated")
        self._take(self._at + 1)

    def value(self) -> bytes:
        """The bytes of the JSON value that comes next; they need not be valid JSON.

        Raises:
            BrokenStream: `truncated`, `too_long` or `not_json`.
        """
        first = self.peek()
        if not first:
            raise BrokenStream("truncated")
        if first in b",:}]":
            raise BrokenStream("not_json")
        return self._take(self._scalar_end() if first not in b'{["' else self._value_end())

    def _wait(self) -> None:
        if len(self._data) - self._at > MAX_VALUE:
            raise BrokenStream("too_long")
        if not self.more():
            raise BrokenStream("truncated")

    def _scalar_end(self) -> int:
        while (match := _SCALAR_END.search(self._data, self._at)) is None:
            if len(self._data) - self._at > MAX_VALUE:
                raise BrokenStream("too_long")
            if not self.more():
                return len(self._data)
        return match.start()

    def _value_end(self) -> int:
        depth = 0
        done = 0  # bytes of the value that were looked at
        while True:
            for match in _TOKEN.finditer(self._data, self._at + done):
                kind = self._data[match.start()]
                if kind == _QUOTE:
                    if match.end() - match.start() == 1:  # the string goes on behind what is held
                        done = match.start() - self._at
                        break
                elif kind in _OPENING:
                    depth += 1
                else:
                    depth -= 1
                if depth <= 0:
                    return match.end()
            else:
                done = len(self._data) - self._at
            self._wait()

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Line and bytes of each item of the array that comes next."""
        self.expect(b"[")
        first = True
        while self.peek() != b"]":
            if not first:
                self.expect(b",")
                self.peek()
            first = False
            line = self.line
            yield line, self.value()
        self.expect(b"]")


def is_whole(data: bytes) -> bool:
    """Whether some bytes are one value as far as brackets and strings tell."""
    pieces = [data]
    stream = ByteStream(lambda size: pieces.pop() if pieces else b"")
    try:
        stream.value()
    except BrokenStream:
        return False
    return not stream.peek()
