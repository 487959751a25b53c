"""A program and its attempt: whether to stop, on which all ranks agree, and that it gets on."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist

from pivot import ranks
from pivot.attempt.directory import DONE, KILLED, REFUSED, STOPPED, Attempt, Failure, Outcome, from_environment
from pivot.attempt.lock import Holder, RunLock
from pivot.attempt.monitor import Monitor
from pivot.attempt.siblings import missing_ranks
from pivot.attempt.timing import Timing
from pivot.errors import UserError

TIME_LIMIT = "time limit"


class Stopped(Exception):
    """Every rank has agreed to stop: raised on all of them, at the same place.

    Attributes:
        reason: Who or what asked.
        phase: What this rank was about when it was asked, or was told by another rank; "" where it was not asked.
        seconds: From then until all ranks had agreed.
        step: Steps of the run that are saved, None where there are none to speak of.
    """

    def __init__(self, reason: str, phase: str = "", seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.phase = phase
        self.seconds = seconds
        self.step: int | None = None

    def __str__(self) -> str:
        at = "" if self.step is None else f" at step {self.step}"
        agreed = f", asked for in {self.phase}, agreed on {self.seconds:.1f} s later" if self.phase else ""
        return f"stopped{at} ({self.reason}{agreed}); start it again to go on"


class Running:
    """What a program asks its attempt and tells it. Methods are local to a rank where they do not say `Collective`.

    Attributes:
        timing: What it has measured of itself.
    """

    def __init__(self, attempt: Attempt | None, *, hang_after: float | None, deadline: float | None) -> None:
        """See the class.

        Args:
            attempt: None: nobody can ask this program to stop but a deadline.
            hang_after: Seconds without progress after which the program is ended; None: never.
            deadline: When the allocation ends, in seconds since the epoch; None: never.
        """
        self._attempt = attempt
        self._rank = int(os.environ.get("RANK", "0"))
        self.timing = Timing(deadline)
        self._monitor = Monitor(attempt, self._rank, hang_after=hang_after)
        self._group: dist.ProcessGroup | None = None

    @classmethod
    def of_environment(cls, hang_after: float | None, environment: Mapping[str, str] = os.environ) -> "Running":
        """As PIVOT_ATTEMPT_DIR and PIVOT_DEADLINE say.

        Raises:
            UserError: one of them cannot be used.
        """
        text = environment.get("PIVOT_DEADLINE") or None
        try:
            deadline = float(text) if text else None
        except ValueError:
            raise UserError(
                f"PIVOT_DEADLINE={text}: it must be the end of the allocation in seconds since 1970"
            ) from None
        return cls(from_environment(environment), hang_after=hang_after, deadline=deadline)

    def start(self) -> None:
        """Look after the program from now on; in the main thread."""
        self._monitor.start()

    def beat(self, phase: str) -> None:
        """The program gets on, and goes about `phase` now."""
        self._monitor.beat(phase)

    def wanted(self) -> bool:
        """Whether this rank knows of a reason to stop; cheap enough to be asked between an engine's steps."""
        self._monitor.beat()
        return self._reason() is not None

    def asked(self) -> str | None:
        """Why all ranks are to stop, None: they are not. Collective."""
        mine = self._reason()
        self._monitor.beat()
        if ranks.size() == 1:
            return mine
        if self._group is None:
            self._group = dist.new_group(backend="gloo")
        flag = torch.tensor([mine is not None], dtype=torch.int32)
        dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
        if not flag.item():
            return None
        reasons: list[str | None] = [None] * ranks.size()
        dist.all_gather_object(reasons, mine, group=self._group)
        reason = next(reason for reason in reasons if reason is not None)
        if self._monitor.stop is None:
            self._monitor.ask(reason)
        return reason

    def agree(self) -> None:
        """Go on, or stop everywhere. Collective.

        Raises:
            Stopped: on every rank, if one of them knows of a reason.
        """
        reason = self.asked()
        if reason is not None:
            seen = self._monitor.stop
            raise Stopped(reason, seen.phase, time.monotonic() - seen.seen) if seen else Stopped(reason)

    def lock(self, run_directory: Path) -> RunLock | None:
        """Take the run directory for this program, until it ends; the lock, on rank 0. Collective.

        Raises:
            UserError: on every rank, if another program holds it.
        """
        refusal: str | None = None
        if ranks.rank() == 0:
            try:
                self._monitor.lock = RunLock.take(run_directory, Holder.this())
            except UserError as error:
                refusal = str(error)
        refusal = ranks.from_first(refusal)
        if refusal is not None:
            raise UserError(refusal)
        return self._monitor.lock

    def check_lock(self) -> None:
        """See that the run directory is still this program's, on the rank that holds its lock.

        Raises:
            Replaced: it is not.
        """
        if self._monitor.lock is not None:
            self._monitor.lock.check()

    def keep_sigterm(self) -> None:
        """SIGTERM is the launcher's affair again, after Lightning has taken it."""
        self._monitor.keep_sigterm()

    def done(self, step: int | None) -> None:
        """Nothing is left to do; `step` steps are done."""
        self._end(Outcome(DONE, step, "nothing is left to do"))

    def stopped(self, stop: Stopped) -> None:
        """What there was is saved."""
        self._end(Outcome(STOPPED, stop.step, stop.reason))

    def refused(self, reason: str) -> None:
        """A mistake that no retry mends; any rank may be the only one to meet it."""
        self.failed(reason)
        outcome = Outcome(REFUSED, None, reason)
        if self._attempt is not None and self._rank != 0 and self._attempt.outcome() is None:
            self._attempt.write_outcome(outcome)
        self._end(outcome)

    def failed(self, reason: str, *, consequence: bool = False) -> None:
        """This rank is about to end on an error.

        Args:
            reason: In a line.
            consequence: It has lost another rank; whoever is gone without a word is written down before it.
        """
        if self._attempt is None:
            return
        if consequence:
            for rank in missing_ranks():
                self._attempt.write_failure(Failure.here(rank, KILLED))
        self._attempt.write_failure(Failure.here(self._rank, reason))

    def _end(self, outcome: Outcome) -> None:
        self._monitor.end()
        if self._rank != 0:
            return
        if self._monitor.lock is not None:
            self._monitor.lock.release()
        if self._attempt is not None:
            self._attempt.write_outcome(outcome)

    def _reason(self) -> str | None:
        if self._monitor.stop is None and self._rank == 0 and self.timing.is_over(time.time()):
            self._monitor.ask(TIME_LIMIT)
            if self._attempt is not None:
                self._attempt.request_stop(TIME_LIMIT)  # ranks that do not agree by collectives see it too
        return self._monitor.stop.reason if self._monitor.stop is not None else None
