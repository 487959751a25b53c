"""One live program on a run directory: the lock, its heartbeat, and what becomes of a dead program's lock.

The lock is a file with the holder's name and a token of its own; the holder sets the file's time again and again. A
lock is taken over when its holder is known to be dead (its process on this host is gone, or the same Slurm job has been
started again) or has not been heard of for `STALE` seconds. Whoever has been replaced finds another token in the file
and must not publish anything any more (`RunLock.check`).
"""

import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write

BEAT = 5.0  # seconds between two heartbeats
STALE = 60.0  # seconds without one after which a holder counts as dead
LOCKING = ("train", "sft")  # recipes that hold their run directory
LOOK = 0.5  # seconds between two looks at a lock whose holder cannot be asked


class Replaced(RuntimeError):
    """Another program has taken this one's run directory; a checkpoint of this one must not appear in it."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a run directory.

    Attributes:
        token: Of this start of the program alone.
        host: Where rank 0 runs.
        pid: Its process there.
        born: When that process was started, in ticks since the host's: a later process may get the same pid.
        since: Seconds since the epoch.
        job: Slurm's job, "" outside of Slurm.
        restart: How often Slurm has started that job again.
    """

    token: str
    host: str
    pid: int
    born: int
    since: float
    job: str
    restart: int

    @classmethod
    def this(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(
            token=secrets.token_hex(16),
            host=socket.gethostname(),
            pid=pid,
            born=born(pid),
            since=time.time(),
            job=environment.get("SLURM_JOB_ID", ""),
            restart=int(environment.get("SLURM_RESTART_COUNT") or 0),
        )

    def __str__(self) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host}{f', Slurm job {self.job}' if self.job else ''}, since {began}"

    def dead_for(self, other: "Holder") -> bool:
        """Whether `other`, which has just started, can tell that this one is dead."""
        if self.host == other.host and born(self.pid) != self.born:
            return True
        return bool(self.job) and self.job == other.job and self.restart < other.restart

    def alive_for(self, other: "Holder") -> bool:
        """Whether `other` can tell that this one lives."""
        return self.host == other.host and born(self.pid) == self.born


def born(pid: int) -> int:
    """When a process was started, in ticks since its host's start; 0 when there is none (zombies do not count)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


class RunLock:
    """The lock of a run directory, held; for one process, rank 0."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._path = path
        self._holder = holder

    @classmethod
    def take(cls, run_directory: Path, holder: Holder, *, stale: float = STALE) -> "RunLock":
        """Hold the run directory for `holder`, and say so if another one's lock was in the way.

        Waits at most `stale` seconds for a holder of whom nothing is known to show that it lives.

        Raises:
            UserError: it is held by a program that lives.
        """
        path = run_directory / "lock.json"
        run_directory.mkdir(parents=True, exist_ok=True)
        lock = cls(path, holder)
        patience = time.monotonic() + stale
        seen: tuple[str, float] | None = None
        while True:
            with _guarded(run_directory):
                other, beat = read(path), _beat(path)
                if other is None or other.dead_for(holder) or (seen and time.monotonic() >= patience):
                    lock._write()
                    break
            if other.alive_for(holder) or (seen is not None and seen != (other.token, beat)):
                raise in_use(run_directory, other)
            seen = seen or (other.token, beat)
            time.sleep(LOOK)
        if other is not None:
            print(f"{run_directory} was locked by {other}, which is dead: taken over", flush=True)
        return lock

    def beat(self) -> None:
        """Show that the holder lives."""
        with suppress(OSError):  # a lock that is gone is noticed by `check`
            os.utime(self._path)

    def check(self) -> None:
        """See that the directory is still this program's.

        Raises:
            Replaced: it is not; by whom it was replaced.
        """
        other = read(self._path)
        if other is None or other.token != self._holder.token:
            raise Replaced(f"this attempt has been replaced by {other or 'nobody: its lock is gone'}")

    def release(self) -> None:
        """Leave the directory to the next one."""
        with _guarded(self._path.parent):
            other = read(self._path)
            if other is not None and other.token == self._holder.token:
                self._path.unlink()

    def _write(self) -> None:
        with atomic_write(self._path) as file:
            file.write(json.dumps(asdict(self._holder)) + "\n")


def refuse_if_live(run_directory: Path, holder: Holder, *, patience: float = 2 * BEAT) -> None:
    """For who is about to change what is in a run directory, before any program that would hold it has started.

    Args:
        run_directory: may not be there.
        holder: this process.
        patience: seconds to watch for a heartbeat of a holder of whom nothing else is known.

    Raises:
        UserError: a program that lives holds it.
    """
    path = run_directory / "lock.json"
    other, beat, start = read(path), _beat(path), time.monotonic()
    if other is None or other.dead_for(holder) or time.time() - beat > STALE:
        return
    while not other.alive_for(holder) and _beat(path) == beat:
        if time.monotonic() - start > patience:
            return
        time.sleep(LOOK)
    if read(path) is not None:  # it may just have ended
        raise in_use(run_directory, other)


def in_use(run_directory: Path, other: Holder) -> UserError:
    """The refusal."""
    return UserError(f"{run_directory} is in use by {other}: wait until it ends, stop it, or set another run.dir")


def read(path: Path) -> Holder | None:
    """Who is named in a lock; None when there is none, or one that cannot be read."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _beat(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


@contextmanager
def _guarded(directory: Path) -> Iterator[None]:
    """Two that look at a lock and write it at the same time do so one after the other, where the file system can."""
    with (directory / ".lock-guard").open("ab") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
