"""Profiles on disk, safe against a kill at any instant.

A store is a folder: `manifest.json` with the fingerprint of what produced the profiles, and one append-only
`shard-*.jsonl` a process that mines into it (`Part.file`). Every line is `{"crc": "…", "record": {…}}` and valid by
itself, so a half-written tail is told from a record, and shards written by any number of processes are read together.
"""

import fcntl
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pivot.errors import UserError
from pivot.mine.select import Profile, profile
from pivot.trajectory.atomic import atomic_write, sync_directory

MANIFEST = "manifest.json"
SHARDS = "shard-*.jsonl"
_LOCK = ".lock"
_SHARD = re.compile(r"shard-(\d+)(?:-(\d+))?\.jsonl")
_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(\{.*\})\}\n', re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One rollout.

    Attributes:
        text: What the policy said.
        reward: None when there is no verdict (an unreachable judge).
        reason: Of the verdict.
        tokens: Length.
        used: Switches that relaxed equality, if the verdict needed any.
    """

    text: str
    reward: float | None
    reason: str
    tokens: int
    used: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """All rollouts of one candidate."""

    candidate_id: str
    samples: tuple[StoredSample, ...]

    def profile(self) -> Profile:
        """Mean, variance and reasons of the rewards."""
        rewards = (sample.reward for sample in self.samples)
        return profile(self.candidate_id, rewards, (sample.reason for sample in self.samples))


def encode_line(record: StoredProfile) -> bytes:
    """One line with the CRC-32 of the record's own bytes."""
    body = json.dumps(asdict(record), ensure_ascii=True, separators=(",", ":")).encode("ascii")
    return b'{"crc":"%08x","record":%s}\n' % (zlib.crc32(body), body)


def decode_line(line: bytes) -> StoredProfile | None:
    """The record of a line, None when the line is not whole."""
    body = _body(line)
    if body is None:
        return None
    raw = json.loads(body)
    samples = (StoredSample(**{**sample, "used": tuple(sample["used"])}) for sample in raw["samples"])
    return StoredProfile(raw["candidate_id"], tuple(samples))


def _body(line: bytes) -> bytes | None:
    match = _LINE.fullmatch(line)
    return match[2] if match is not None and int(match[1], 16) == zlib.crc32(match[2]) else None


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the store's own lock: jobs that start or end at the same time do it one after the other."""
    with (directory / _LOCK).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(directory: Path, fingerprint: Mapping[str, Any], *, redo: bool = False) -> Path | None:
    """Make a store, or check that an existing one was made the same way. Any number of processes may do so at once.

    Args:
        directory: Made when missing.
        fingerprint: JSON-able: hashes of weights, verifier and template, sampling, seed.
        redo: Move profiles that were made another way into a folder of their own inside the store, and begin anew.

    Returns:
        The folder that stale profiles were moved to, if any.

    Raises:
        UserError: The store has another fingerprint, or the folder cannot be written, or other processes still
            append to what should be moved away.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory):
            stale = _why_stale(directory, fingerprint)
            if stale is None:
                return None
            if stale and not redo:
                raise UserError(
                    f"{directory}: {stale}; set mine.stale=redo to set them aside and profile again, "
                    "or choose another folder"
                )
            moved = _set_aside(directory) if stale else None
            with atomic_write(directory / MANIFEST) as file:
                file.write(json.dumps(fingerprint, indent=2, sort_keys=True) + "\n")
            return moved
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror}); choose another folder") from None


def _why_stale(directory: Path, fingerprint: Mapping[str, Any]) -> str | None:
    """None when the store was made like this; "" when there is no store; else how its profiles differ."""
    path = directory / MANIFEST
    if not path.exists():
        return "profiles without a manifest" if _shards(directory) else ""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return f"{MANIFEST} is damaged"
    now = json.loads(json.dumps(fingerprint))  # as it would read back: tuples become lists
    keys = sorted(stored.keys() | now.keys())
    changed = [f"{key} was {stored.get(key)!r}, is {now.get(key)!r}" for key in keys if stored.get(key) != now.get(key)]
    return f"its profiles were made another way ({'; '.join(changed)})" if changed else None


def _set_aside(directory: Path) -> Path:
    """Move everything of a store into a numbered folder in it; returns that folder."""
    for path in _shards(directory):
        with path.open("ab") as file:
            _lock(file.fileno(), path)
    numbers = [int(path.name[6:]) for path in directory.glob("stale-*") if path.name[6:].isdecimal()]
    # A kill in between left the newest folder without a manifest, which is moved last: go on with that one.
    last = max(numbers, default=0)
    unfinished = last > 0 and not (directory / f"stale-{last}" / MANIFEST).exists()
    aside = directory / f"stale-{last if unfinished else last + 1}"
    aside.mkdir(exist_ok=True)
    others = [path for path in directory.glob("*.json*") if path.name != MANIFEST]
    for path in [*sorted(others), directory / MANIFEST]:
        if path.exists():
            path.rename(aside / path.name)
    sync_directory(aside)
    sync_directory(directory)
    return aside


def _lock(file: int, path: Path) -> None:
    """Take a shard for this process.

    Raises:
        UserError: Another process has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{path}: another process mines into this file; stop it, choose another folder, "
            "or give every job a part of its own (mine.shard=i/n)"
        ) from None


def _shards(directory: Path) -> list[Path]:
    """Shards by number."""
    found = [
        ((int(match[1]), int(match[2] or -1)), path)
        for path in directory.glob(SHARDS)
        if (match := _SHARD.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


class Shard:
    """One process's shard, open for appending; opening cuts off what a kill left half-written at its end."""

    def __init__(self, directory: Path, name: str, fingerprint: Mapping[str, Any]) -> None:
        """Open the shard; `prepare` must have been called.

        Args:
            directory: The store.
            name: File of this process alone (`Part.file`).
            fingerprint: As `prepare` was given it. A job with other settings may have redone the store since.

        Raises:
            UserError: It cannot be written, another process has it open, or the store is stale.
        """
        self.path = directory / name
        try:
            with locked(directory):
                if stale := _why_stale(directory, fingerprint):
                    raise UserError(f"{directory}: {stale} by a job that started meanwhile; choose another folder")
                self._file = self.path.open("ab", buffering=0)
                try:
                    _lock(self._file.fileno(), self.path)
                except UserError:
                    self._file.close()
                    raise
            self._end = self._cut_tail()
            sync_directory(directory)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror}); choose another folder") from None

    def _cut_tail(self) -> int:
        """Truncate after the last whole record; returns the file's length."""
        position = end = 0
        with self.path.open("rb") as file:
            for line in file:
                position += len(line)
                if _body(line) is not None:
                    end = position
        self._file.truncate(end)
        return end

    def append(self, records: Iterable[StoredProfile]) -> None:
        """Write a wave of records and wait until it is on disk.

        Raises:
            UserError: The disk is full or failed; the shard then ends with its last whole wave.
        """
        data = memoryview(b"".join(map(encode_line, records)))
        try:
            written = 0
            while written < len(data):
                written += os.write(self._file.fileno(), data[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), self._end)
            raise UserError(
                f"{self.path}: cannot be written ({error.strerror}); make room and run the same command again"
            ) from None
        self._end += len(data)

    def close(self) -> None:
        """Close the file and free its lock."""
        self._file.close()

    def __enter__(self) -> "Shard":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class _Place:
    path: Path
    offset: int
    length: int


def _places(directory: Path) -> dict[str, _Place]:
    """Where each candidate's record is; the first one counts, in order of shards."""
    places: dict[str, _Place] = {}
    for path in _shards(directory):
        with path.open("rb") as file:
            offset = 0
            for line in file:
                record = decode_line(line)
                if record is not None:
                    places.setdefault(record.candidate_id, _Place(path, offset, len(line)))
                offset += len(line)
    return places


def done_ids(directory: Path) -> set[str]:
    """Candidates with a whole record in any shard, however many ranks wrote them."""
    return set(_places(directory))


def merged(directory: Path, order: Sequence[str]) -> Iterator[StoredProfile]:
    """The records of all shards in the given order of candidate ids; ids without a record are left out.

    One record in memory at a time.
    """
    places = _places(directory)
    files: dict[Path, BinaryIO] = {}
    try:
        for candidate_id in order:
            place = places.get(candidate_id)
            if place is None:
                continue
            if place.path not in files:
                files[place.path] = place.path.open("rb")
            file = files[place.path]
            file.seek(place.offset)
            record = decode_line(file.read(place.length))
            if record is None:
                raise UserError(f"{place.path}: changed while it was read; run the command again")
            yield record
    finally:
        for file in files.values():
            file.close()
