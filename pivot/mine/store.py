"""Profiles on disk, safe against a kill at any instant.

A store is a folder: `manifest.json` with the fingerprint of what produced the profiles, and one append-only
`shard-<rank>.jsonl` a rank. Every line is `{"crc": "…", "record": {…}}` and valid by itself, so a
half-written tail is told from a record, and shards written by any number of ranks are read together.
"""

import fcntl
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pivot.errors import UserError
from pivot.mine.select import Profile, profile
from pivot.trajectory.atomic import atomic_write, sync_directory

MANIFEST = "manifest.json"
_SHARD = re.compile(r"shard-(\d+)\.jsonl")
_LINE = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(\{.*\})\}\n', re.DOTALL)


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One rollout: its text, verdict and length in tokens."""

    text: str
    reward: float
    reason: str
    tokens: int


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
    match = _LINE.fullmatch(line)
    if match is None or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    raw = json.loads(match[2])
    return StoredProfile(raw["candidate_id"], tuple(StoredSample(**sample) for sample in raw["samples"]))


def prepare(directory: Path, fingerprint: Mapping[str, Any], *, fresh: bool = False) -> None:
    """Make a store, or check that an existing one was made the same way.

    One rank calls it before any rank opens its shard.

    Args:
        directory: Made when missing.
        fingerprint: JSON-able: hashes of weights, verifier and template, sampling, seed.
        fresh: Throw an existing store away.

    Raises:
        UserError: The store has another fingerprint, or the folder cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if fresh:
            # Shards first: a kill in between must not leave them under a new manifest.
            for path in [*_shards(directory), directory / MANIFEST]:
                path.unlink(missing_ok=True)
            sync_directory(directory)
        if (directory / MANIFEST).exists():
            _check_fingerprint(directory, fingerprint)
            return
        if _shards(directory):
            raise UserError(f"{directory}: profiles without a manifest; set mine.fresh=true to start again")
        with atomic_write(directory / MANIFEST) as file:
            file.write(json.dumps(fingerprint, indent=2, sort_keys=True) + "\n")
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror}); choose another folder") from None


def _check_fingerprint(directory: Path, fingerprint: Mapping[str, Any]) -> None:
    path = directory / MANIFEST
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path}: is damaged; set mine.fresh=true to start again") from None
    now = json.loads(json.dumps(fingerprint))  # as it would read back: tuples become lists
    keys = sorted(stored.keys() | now.keys())
    changed = [f"{key} was {stored.get(key)!r}, is {now.get(key)!r}" for key in keys if stored.get(key) != now.get(key)]
    if changed:
        raise UserError(
            f"{directory}: its profiles were made another way ({'; '.join(changed)}); "
            "set mine.fresh=true to start again, or choose another folder"
        )


def _shards(directory: Path) -> list[Path]:
    """Shards by number."""
    found = [(int(match[1]), path) for path in directory.iterdir() if (match := _SHARD.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


class Shard:
    """One rank's shard, open for appending; opening cuts off what a kill left half-written at its end."""

    def __init__(self, directory: Path, rank: int) -> None:
        """Open the shard; `prepare` must have been called.

        Raises:
            UserError: It cannot be written, or another process has it open.
        """
        self.path = directory / f"shard-{rank}.jsonl"
        try:
            self._file = self.path.open("ab", buffering=0)
            self._lock()
            self._end = self._cut_tail()
            sync_directory(directory)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror}); choose another folder") from None

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UserError(f"{self.path}: another process mines into this folder; stop it or choose another") from None

    def _cut_tail(self) -> int:
        """Truncate after the last whole record; returns the file's length."""
        position = end = 0
        with self.path.open("rb") as file:
            for line in file:
                position += len(line)
                if decode_line(line) is not None:
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
    if not directory.is_dir():
        return places
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
