"""The thread beside a program, in a process of its own, which it may end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pivot.attempt.directory import Attempt, Failure

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import re, sys, time
from pathlib import Path
from pivot.attempt import monitor
from pivot.attempt.directory import Attempt

monitor.BEHIND, monitor.WITNESSES, monitor.TICK = 1.0, 0.2, 0.1
watch = monitor.Monitor(Attempt(Path(sys.argv[1])), 3, hang_after=float(sys.argv[2]))
watch.start()
print("started", flush=True)
"""
SLEEPS = PROGRAM + "watch.beat('verify')\ntime.sleep(60)\n"
NEVER_LETS_GO = PROGRAM + "time.sleep(0.5)\nre.match('(a|a)*b', 'a' * 60)\n"
LOCKED = (
    PROGRAM
    + """
from ctypes import CDLL, create_string_buffer
mutex, lock = create_string_buffer(64), CDLL(None).pthread_mutex_lock
lock(mutex)
lock(mutex)
"""
)
GETS_ON = PROGRAM + "for _ in range(20):\n    time.sleep(0.1)\n    watch.beat()\nwatch.end()\nprint(watch.stop)\n"


def start(program: str, folder: Path, hang_after: float) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", program, str(folder), str(hang_after)], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert started.stdout is not None
    assert started.stdout.readline() == "started\n"
    return started


def end(started: subprocess.Popen[str], status: int, within: float) -> tuple[str, str]:
    """What it said, if it ends as it should."""
    begun = time.monotonic()
    said = started.communicate(timeout=60)
    assert started.returncode == status, said
    assert time.monotonic() - begun < within
    return said


def test_a_hang_is_written_down_with_the_stacks(tmp_path: Path) -> None:
    _, said = end(start(SLEEPS, tmp_path, 0.5), 1, within=10)
    where = tmp_path / "stacks" / "00003.txt"
    assert said == f"pivot: rank 3: no progress for 1 s in verify; the stacks of its threads are in {where}\n"
    [failure] = Attempt(tmp_path).failures()
    assert (failure.rank, failure.reason) == (3, "no progress for 1 s in verify")
    stacks = where.read_text()
    assert stacks.count("most recent call first") == 2  # the program's thread and the watching one
    assert Attempt(tmp_path).hung.exists()


def test_a_rank_that_is_told_of_a_hang_leaves_its_stacks_and_no_failure(tmp_path: Path) -> None:
    started = start(SLEEPS, tmp_path, 50)
    Attempt(tmp_path).hung.touch()
    end(started, 1, within=10)
    assert Attempt(tmp_path).failures() == []
    assert "most recent call first" in (tmp_path / "stacks" / "00003.txt").read_text()


def test_a_thread_that_never_lets_go_of_the_interpreter_is_ended_too(tmp_path: Path) -> None:
    end(start(NEVER_LETS_GO, tmp_path, 1.0), 1, within=20)
    stacks = (tmp_path / "stacks" / "00003.txt").read_text()
    assert stacks.startswith("Timeout (0:00:02)!")
    assert "in match" in stacks


def test_a_program_that_gets_on_is_left_alone_and_leaves_nothing(tmp_path: Path) -> None:
    started = start(GETS_ON, tmp_path, 1.0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        started.send_signal(number)  # these are the launcher's affair
    assert end(started, 0, within=10)[0] == "None\n"
    assert list(tmp_path.rglob("*.txt")) == []


def test_abort_ends_it_at_once(tmp_path: Path) -> None:
    started = start(SLEEPS, tmp_path, 50)
    Attempt(tmp_path).request_abort()
    end(started, 1, within=5)


@pytest.mark.parametrize("first", ["failure", "signal"])
def test_sigterm_ends_a_rank_once_another_has_failed(first: str, tmp_path: Path) -> None:
    started = start(SLEEPS, tmp_path, 50)
    if first == "signal":
        started.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert started.poll() is None
    Attempt(tmp_path).write_failure(Failure.here(0, "out of luck"))
    if first == "failure":
        time.sleep(0.5)
        assert started.poll() is None
        started.send_signal(signal.SIGTERM)
    end(started, 143, within=5)


def test_sigterm_is_heard_while_the_main_thread_is_in_a_call_that_does_not_return(tmp_path: Path) -> None:
    """Python runs its handlers only after that call: a rank that waits for a dead one is in such a call."""
    started = start(LOCKED, tmp_path, 50)
    time.sleep(0.5)
    Attempt(tmp_path).write_failure(Failure.here(0, "out of luck"))
    started.send_signal(signal.SIGTERM)
    end(started, 143, within=5)
