"""What ranks do in tests of attempts: agree to stop, refuse together, hang."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from pivot import ranks
from pivot.attempt.directory import Attempt
from pivot.attempt.lock import Holder, RunLock
from pivot.attempt.running import Running, Stopped
from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import initialize


def agreement(folder: str) -> dict[str, Any]:
    """All ranks stop at the same place, whoever knows of it first, and are refused together."""
    initialize(Layout(), 0)
    result: dict[str, Any] = {}
    attempt = Attempt(Path(folder))
    running = Running(attempt if ranks.rank() else None, hang_after=None, deadline=None)
    running.start()
    result["before"] = running.asked()
    if ranks.rank() == 0:
        attempt.request_stop("USR1")
    rounds = 0
    try:
        while rounds < 1000:
            running.agree()
            time.sleep(0.02)
            rounds += 1
    except Stopped as stop:
        result |= {"reason": stop.reason, "rounds": rounds, "phase": stop.phase}
    late = Running(None, hang_after=None, deadline=time.time() + 1)
    result["time"] = late.asked()
    other = None
    if ranks.rank() == 0:
        other = RunLock.take(Path(folder) / "run", Holder.this())
    try:
        running.lock(Path(folder) / "run")
    except UserError as error:
        result["refused"] = str(error)
    if other is not None:
        other.release()
    ranks.barrier()
    running.lock(Path(folder) / "run")
    running.check_lock()
    return result


def hang(folder: str) -> None:
    """Rank 1 sleeps for ever in the middle of a phase; rank 0 waits for it in a collective."""
    initialize(Layout(), 0)
    os.environ["TORCHELASTIC_RUN_ID"] = "test"
    running = Running(Attempt(Path(folder)), hang_after=2.0, deadline=None)
    running.start()
    running.agree()
    running.beat("verify")
    if ranks.rank() == 1:
        time.sleep(1000)
    running.beat("train")
    running.agree()
