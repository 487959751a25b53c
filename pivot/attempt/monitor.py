"""The thread beside a program that looks after it: requests to stop, the lock's heartbeat, and hangs.

A hang is no progress (`Monitor.beat`) for `hang_after` seconds on some rank. The rank that finds it says so in a file,
every rank writes the stacks of its threads, and they end. Python's own timer stands behind the thread, for a main
thread that never lets go of the interpreter.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pivot.attempt.directory import Attempt, Failure
from pivot.attempt.lock import BEAT, RunLock
from pivot.attempt.siblings import missing_ranks

TICK = 1.0  # seconds between two looks
WITNESSES = 3.0  # seconds that a hang's finder gives the other ranks to write their stacks
BEHIND = 30.0  # seconds after a hang at which Python's timer ends what this thread could not


@dataclass(frozen=True, slots=True)
class Stop:
    """A request to stop, as a rank has seen it.

    Attributes:
        reason: Who or what asks.
        phase: What the program was about.
        seen: When, on this process's clock.
    """

    reason: str
    phase: str
    seen: float


class Monitor:
    """What a rank's thread knows; the program's side are `beat`, `stop` and `lock`.

    Attributes:
        stop: Why the program is to stop, as this rank knows; None: it is not.
        lock: Of the run directory, on the rank that holds it.
    """

    def __init__(self, attempt: Attempt | None, rank: int, *, hang_after: float | None) -> None:
        """See the class.

        Args:
            attempt: Whose files to look at; None: there is nothing to look at but the lock.
            rank: Of this process.
            hang_after: Seconds without progress; None: never a hang.
        """
        self.stop: Stop | None = None
        self.lock: RunLock | None = None
        self._attempt = attempt
        self._rank = rank
        self._hang_after = hang_after
        self._terminated = threading.Event()
        self._end = threading.Event()
        self._progress = ("start", time.monotonic())
        self._locked = 0.0
        self._arrived: int | None = None  # the numbers of signals come out of this pipe
        self._thread = threading.Thread(target=self._run, name="attempt", daemon=True)
        self._dump = self._open_stacks()

    def start(self) -> None:
        """From now on; in the main thread, where signals are handled."""
        if self._attempt is not None:
            self._own_signals()
            self._arrived, arrives = os.pipe()
            for end in (self._arrived, arrives):
                os.set_blocking(end, False)
            signal.set_wakeup_fd(arrives, warn_on_full_buffer=False)
        self._thread.start()

    def end(self) -> None:
        """The program has ended by itself."""
        self._end.set()
        self._thread.join()
        if self._arrived is not None:
            os.close(signal.set_wakeup_fd(-1))
            os.close(self._arrived)
        if self._dump is not None:
            faulthandler.cancel_dump_traceback_later()
            self._dump.close()
            Path(self._dump.name).unlink()

    def beat(self, phase: str | None = None) -> None:
        """The program gets on; it now does `phase`, or what it did before."""
        if phase is not None:
            show(phase)
        self._progress = (phase or self._progress[0], time.monotonic())

    def ask(self, reason: str) -> None:
        """The program is to stop."""
        self.stop = Stop(reason, self._progress[0], time.monotonic())

    def _own_signals(self) -> None:
        """A signal that everybody gets, as Ctrl-C, is for who started the ranks: it asks them to stop by a file.

        Handlers that do nothing, and not SIG_IGN, which programs that this one starts would inherit.
        """
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        self.keep_sigterm()

    def keep_sigterm(self) -> None:
        """Again after Lightning has put its own handler there, which would end training at the next step."""
        if self._attempt is not None:
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated.set()
        self._leave_if_alone()

    def _leave_if_alone(self) -> None:
        """SIGTERM is how the launcher ends ranks when another one is gone; it means nothing else here."""
        if self._attempt is not None and self._terminated.is_set() and (self._attempt.failures() or missing_ranks()):
            leave(128 + signal.SIGTERM)

    def _heard_sigterm(self) -> bool:
        """Whether it has arrived since the last look; Python's handler waits for a main thread that is in a call."""
        with suppress(BlockingIOError):
            return self._arrived is not None and signal.SIGTERM in os.read(self._arrived, 4096)
        return False

    def _run(self) -> None:
        while not self._end.wait(TICK):
            if self._dump is not None and self._hang_after is not None:
                faulthandler.dump_traceback_later(self._hang_after + BEHIND, exit=True, file=self._dump)
            self._look(time.monotonic())

    def _look(self, now: float) -> None:
        if self.lock is not None and now - self._locked >= BEAT:
            self._locked = now
            self.lock.beat()
        phase, last = self._progress
        hangs = self._hang_after is not None and now - last > self._hang_after
        if self._attempt is None:
            if hangs:
                self._leave_hung(f"no progress for {now - last:.0f} s in {phase}")
            return
        if self._attempt.aborted():
            leave(1)
        if self._heard_sigterm():
            self._terminated.set()
        self._leave_if_alone()
        if self.stop is None and (reason := self._attempt.stop_reason()) is not None:
            self.ask(reason)
        if hangs or self._attempt.hung.exists():
            self._leave_hung(f"no progress for {now - last:.0f} s in {phase}", hangs=hangs)

    def _leave_hung(self, reason: str, *, hangs: bool = True) -> None:
        """Write what there is to know about a hang, and end."""
        said = f"rank {self._rank}: {reason}"
        if self._attempt is None:
            print(f"pivot: {said}", file=sys.stderr, flush=True)
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
            leave(1)
        else:
            if hangs:
                self._attempt.write_failure(Failure.here(self._rank, reason))
                self._attempt.hung.touch()
            if self._dump is not None:
                self._dump.write(said + "\n")
                self._dump.flush()
                faulthandler.dump_traceback(file=self._dump, all_threads=True)
            where = self._attempt.stacks(self._rank) if self._dump is not None else "nowhere"
            print(f"pivot: {said}; the stacks of its threads are in {where}", file=sys.stderr, flush=True)
            time.sleep(WITNESSES if hangs else 0)
            leave(1)

    def _open_stacks(self) -> TextIO | None:
        """A file that is open before it is needed: a hung file system would not open it any more."""
        if self._attempt is None or self._hang_after is None:
            return None
        return self._attempt.stacks(self._rank).open("w")


def show(phase: str) -> None:
    """What this process is about, as its name in `ps -eo pid,comm` and `top`; Linux keeps 15 characters."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text(f"pivot:{phase}")


def leave(status: int) -> None:
    """End this process now, from any thread, with what it printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
