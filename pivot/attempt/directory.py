"""The directory of an attempt: who asked it to stop, how it ended, who failed first."""

import json
import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write

VARIABLE = "PIVOT_ATTEMPT_DIR"
KILLED = (
    "killed: it ended without a word (if nobody did it, memory ran out: lower train.micro_batch_tokens, "
    "rollout.kv_cache_mb or parallel.ranks)"
)
DONE, STOPPED, REFUSED = "done", "stopped", "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended that did not crash.

    Attributes:
        outcome: `done` nothing is left to do | `stopped` saved, start it again | `refused` no retry can mend it.
        step: Steps of the run that are done, where there are any.
        reason: In a line.
    """

    outcome: str
    step: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A rank that failed: where, when (seconds since the epoch) and why, in a line."""

    rank: int
    node: str
    time: float
    reason: str

    @classmethod
    def here(cls, rank: int, reason: str) -> Self:
        """Of this node, now."""
        return cls(rank, socket.gethostname(), time.time(), " ".join(reason.split()) or "no reason given")

    def __str__(self) -> str:
        return f"rank {self.rank} on {self.node}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The files below `directory`, which all ranks share; every one of them appears whole."""

    directory: Path

    def request_stop(self, reason: str) -> None:
        """Ask the program to save and end; of several reasons the first stays."""
        with suppress(FileExistsError):
            _write_new(self.directory / "stop", reason + "\n")

    def request_abort(self) -> None:
        """Ask it to end at once and to save nothing."""
        (self.directory / "abort").touch()

    def stop_reason(self) -> str | None:
        """Why the program is to stop; None while nobody has asked."""
        try:
            text = (self.directory / "stop").read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError:  # a shared file system in trouble: look again later
            return None
        return " ".join(text.split()) or "asked to"

    def aborted(self) -> bool:
        """Whether it is to end without saving."""
        return (self.directory / "abort").exists()

    def write_outcome(self, outcome: Outcome) -> None:
        """For rank 0, when every rank is done."""
        with atomic_write(self.directory / "outcome.json") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")

    def outcome(self) -> Outcome | None:
        """None for an attempt that runs, or crashed."""
        try:
            return Outcome(**json.loads((self.directory / "outcome.json").read_text()))
        except FileNotFoundError:
            return None

    def write_failure(self, failure: Failure) -> None:
        """A rank's first failure; later ones of the same rank are dropped."""
        folder = self.directory / "failures"
        folder.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            _write_new(folder / f"{failure.rank:05d}.json", json.dumps(asdict(failure)) + "\n")

    def failures(self) -> list[Failure]:
        """In the order in which ranks failed."""
        found = [Failure(**json.loads(path.read_text())) for path in self.directory.glob("failures/*.json")]
        return sorted(found, key=lambda failure: (failure.time, failure.rank))

    def stacks(self, rank: int) -> Path:
        """Where a rank leaves the stacks of its threads when the program hangs."""
        folder = self.directory / "stacks"
        folder.mkdir(exist_ok=True)
        return folder / f"{rank:05d}.txt"

    @property
    def hung(self) -> Path:
        """Is there when a rank has found that the program hangs: every rank then writes its stacks."""
        return self.directory / "hung"


def from_environment(environment: Mapping[str, str] = os.environ) -> Attempt | None:
    """The attempt that this process is a rank of; None when nobody made one.

    Raises:
        UserError: the variable names a directory that this node does not have.
    """
    name = environment.get(VARIABLE)
    if not name:
        return None
    if not Path(name).is_dir():
        raise UserError(
            f"{VARIABLE}={name}: no such directory on {socket.gethostname()}; put run.dir on a file system that all "
            "nodes share"
        )
    return Attempt(Path(name))


def make(run_directory: Path) -> Attempt:
    """The next attempt of a run: `attempts/NNN`; two that start together get one each."""
    folder = run_directory / "attempts"
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in folder.iterdir() if re.fullmatch(r"\d{3,}", path.name)), default=0)
    while True:
        number += 1
        with suppress(FileExistsError):
            (folder / f"{number:03d}").mkdir()
            return Attempt(folder / f"{number:03d}")


def _write_new(path: Path, text: str) -> None:
    """Write a file that is whole or not there, and only if it is not.

    Raises:
        FileExistsError: it is.
    """
    if path.exists():
        raise FileExistsError(path)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    temporary.write_text(text)
    try:
        os.link(temporary, path)
    finally:
        temporary.unlink()
