"""What a user may name as input: files, folders, globs, `-`; opened as a stream of uncompressed bytes."""

import glob
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, Protocol, cast

from pivot.errors import UserError

STDIN = Path("-")
LINES_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (*LINES_SUFFIXES, ".json", ".traj")
PARQUET = ".parquet"
GZIP, ZSTD = ".gz", ".zst"
_GZIP_MAGIC, _ZSTD_MAGIC, _PARQUET_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"

# What reading a damaged compressed file raises (BadGzipFile is an OSError and must be caught before it).
DAMAGED = (gzip.BadGzipFile, zlib.error, EOFError)


def is_trajectory_name(name: str) -> bool:
    """Whether a file found in a folder is read: by its suffix, also under `.gz` and `.zst`."""
    return name.lower().endswith(PARQUET) or _uncompressed_name(name).endswith(TEXT_SUFFIXES)


def is_lines_name(name: str) -> bool:
    """Whether a file's name says that each line is a record."""
    return _uncompressed_name(name).endswith(LINES_SUFFIXES)


def _uncompressed_name(name: str) -> str:
    return name.lower().removesuffix(GZIP).removesuffix(ZSTD)


def _refuse(error: OSError) -> NoReturn:
    name = display_name(Path(os.fsdecode(error.filename)))
    raise UserError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _in_folder(folder: Path) -> list[Path]:
    found: list[Path] = []
    entered: set[str] = set()
    for directory, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(directory)
        folders[:] = [name for name in folders if not name.startswith(".") and real not in entered]
        entered.add(real)  # a link may lead back up
        found += [Path(directory, name) for name in names if is_trajectory_name(name) and not name.startswith(".")]
    if not found:
        suffixes = ", ".join((*TEXT_SUFFIXES, PARQUET))
        raise UserError(f"{folder}: no trajectory file in this folder ({suffixes}, also {GZIP} and {ZSTD})")
    return sorted(found)


def _mode(path: Path) -> int:
    """The file's mode; 0 when there is none of that name."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:  # a name that is too long, a folder that may not be entered
        _refuse(error)


def _one(given: Path, passed_over: Collection[Path]) -> Iterable[Path]:
    mode = 0 if given == STDIN else _mode(given)
    if given == STDIN or (mode and not stat.S_ISDIR(mode)):  # also a pipe, such as `<(command)`
        return [given]
    if mode:
        found = _in_folder(given)
    elif glob.has_magic(str(given)):
        matches = [Path(name) for name in sorted(glob.glob(str(given), recursive=True))]
        found = [path for match in matches for path in (_in_folder(match) if match.is_dir() else [match])]
        if not found:
            raise UserError(f"{given}: no file matches; check the pattern")
    else:
        raise UserError(f"{given}: no such file; check the path")
    return [path for path in found if path.absolute() not in passed_over]


def expand(inputs: Sequence[Path], passed_over: Collection[Path] = ()) -> list[Path]:
    """The files that some inputs stand for, each once, in the order given and sorted within a folder or pattern.

    Args:
        inputs: Files, folders, patterns or `-`.
        passed_over: Files (absolute) that no folder or pattern stands for: what an earlier run wrote there.

    Raises:
        UserError: A missing file, a pattern that matches nothing, a folder without any known suffix.
    """
    found: dict[str, Path] = {}
    for given in inputs:
        for path in _one(given, passed_over):
            found.setdefault("-" if path == STDIN else os.path.realpath(path), path)
    return list(found.values())


def total_bytes(paths: Sequence[Path]) -> int | None:
    """Size of all files as they are stored; None when one has no size (stdin, a pipe)."""
    if any(path == STDIN or not path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def display_name(path: Path) -> str:
    """The path as text that can be encoded, whatever bytes the file system holds."""
    return "stdin" if path == STDIN else os.fsencode(path).decode("utf-8", "replace")


class _Reader(Protocol):
    """Returns up to so many bytes, as many as are at hand; none at the end."""

    def read1(self, size: int, /) -> bytes: ...


class _Zstd:
    """Uncompressed bytes of Zstandard frames, a small piece at a time; a missing end is an `EOFError`."""

    _PIECE = 1 << 14

    def __init__(self, raw: BinaryIO) -> None:
        import pyarrow

        self._stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")

    def read1(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(min(size, self._PIECE)))
        except OSError as error:
            if error.errno is not None:  # of the file, not of what it holds
                raise
            raise EOFError(str(error)) from None


def _stdin() -> io.BufferedReader:
    if sys.stdin is None:
        raise UserError("stdin: is closed; pipe the records into it, or name a file instead of -")
    stream = cast(io.BufferedReader, io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer)))
    if stream.peek(4).startswith(_PARQUET_MAGIC):
        raise UserError("stdin: Parquet can't be read from a stream; name the file")
    return stream


class _Patient:
    """Reads as much as is asked for, and hands out what came before a damage before it raises."""

    def __init__(self, stream: _Reader) -> None:
        self._stream = stream
        self._damage: BaseException | None = None

    def read(self, size: int) -> bytes:
        if self._damage is not None:
            raise self._damage
        pieces: list[bytes] = []
        while size > 0:
            try:
                piece = self._stream.read1(size)
            except DAMAGED as error:
                if not pieces:
                    raise
                self._damage = error
                break
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


@contextmanager
def open_bytes(path: Path) -> Iterator[tuple[Callable[[int], bytes], Callable[[], int]]]:
    """Two functions: one reads uncompressed bytes of a file, one says how many stored bytes were read so far.

    Raises:
        UserError: The file cannot be opened or read; what `DAMAGED` lists is left to the caller.
    """
    name = display_name(path)
    try:
        if path == STDIN:
            yield _Patient(_uncompressed(_stdin(), "")).read, lambda: 0
            return
        with path.open("rb") as raw:
            tell = raw.tell if raw.seekable() else lambda: 0
            yield _Patient(_uncompressed(raw, path.suffix.lower())).read, tell
    except DAMAGED:
        raise
    except IsADirectoryError:
        raise UserError(f"{name}: is a directory; name the files in it") from None
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; check the path") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from None


def _uncompressed(stream: io.BufferedReader, suffix: str) -> _Reader:
    """As the name says, and also where only the first bytes do: no JSON begins like them."""
    head = stream.peek(4)
    if suffix == GZIP or (suffix != ZSTD and head.startswith(_GZIP_MAGIC)):
        return gzip.GzipFile(fileobj=stream)
    return _Zstd(stream) if suffix == ZSTD or head.startswith(_ZSTD_MAGIC) else stream
