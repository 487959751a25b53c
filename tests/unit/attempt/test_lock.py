"""One live program on a run directory: who is refused, whose lock is taken over, who may publish."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pivot.attempt.lock import Holder, Replaced, RunLock, born, read, refuse_if_live
from pivot.errors import UserError

ME = Holder.this({})
ELSEWHERE = replace(ME, token="other", host="node7", pid=1, born=1)


def write(directory: Path, holder: Holder) -> Path:
    path = directory / "lock.json"
    path.write_text(json.dumps(asdict(holder)))
    return path


def test_a_lock_is_held_checked_and_released(tmp_path: Path) -> None:
    lock = RunLock.take(tmp_path / "run", ME)
    lock.check()
    assert read(tmp_path / "run" / "lock.json") == ME
    lock.release()
    assert read(tmp_path / "run" / "lock.json") is None
    with pytest.raises(Replaced, match="replaced by nobody: its lock is gone"):
        lock.check()


def test_a_program_that_lives_here_refuses_at_once(tmp_path: Path) -> None:
    RunLock.take(tmp_path, ME)
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        RunLock.take(tmp_path, replace(ME, token="second"))
    assert time.monotonic() - start < 2
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{tmp_path} is in use by process {os.getpid()} on {ME.host}, since ")
    assert line.endswith(": wait until it ends, stop it, or set another run.dir")


def test_a_dead_program_of_this_host_is_taken_over_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(ME, token="child", pid=child.pid, born=born(child.pid))
    write(tmp_path, holder)
    with pytest.raises(UserError, match="is in use by"):
        RunLock.take(tmp_path, ME)
    child.kill()
    child.wait()
    RunLock.take(tmp_path, ME)
    assert capsys.readouterr().out == f"{tmp_path} was locked by {holder}, which is dead: taken over\n"


def test_a_process_that_got_a_dead_ones_number_is_not_it(tmp_path: Path) -> None:
    write(tmp_path, replace(ME, token="old", born=ME.born - 1))
    RunLock.take(tmp_path, ME).check()


def test_a_holder_elsewhere_that_is_heard_of_refuses(tmp_path: Path) -> None:
    path = write(tmp_path, ELSEWHERE)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        for ask in (lambda: RunLock.take(tmp_path, ME, stale=30), lambda: refuse_if_live(tmp_path, ME)):
            with pytest.raises(UserError, match="is in use by process 1 on node7"):
                ask()
    finally:
        stop.set()
        thread.join()


def test_a_holder_elsewhere_that_is_silent_is_waited_for_and_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, ELSEWHERE)
    start = time.monotonic()
    lock = RunLock.take(tmp_path, ME, stale=1.0)
    assert 1.0 <= time.monotonic() - start < 5
    lock.check()
    assert "taken over" in capsys.readouterr().out


@pytest.mark.parametrize(("job", "restart", "taken"), [("8", 1, True), ("8", 0, False), ("9", 1, False)])
def test_the_next_start_of_the_same_slurm_job_takes_over_at_once(
    job: str, restart: int, taken: bool, tmp_path: Path
) -> None:
    write(tmp_path, replace(ELSEWHERE, job="8", restart=0))
    mine = replace(ME, job=job, restart=restart)
    start = time.monotonic()
    RunLock.take(tmp_path, mine, stale=1.5)
    assert (time.monotonic() - start < 1) == taken


def test_whoever_was_replaced_may_neither_publish_nor_release(tmp_path: Path) -> None:
    old = RunLock.take(tmp_path, ELSEWHERE)
    new = RunLock.take(tmp_path, ME, stale=0)
    with pytest.raises(Replaced, match=f"this attempt has been replaced by process {os.getpid()} on {ME.host}"):
        old.check()
    old.release()
    new.check()


def test_who_has_not_started_yet_asks_first(tmp_path: Path) -> None:
    refuse_if_live(tmp_path / "nothing", ME)
    other = replace(ME, token="second")
    lock = RunLock.take(tmp_path, ME)
    with pytest.raises(UserError, match=f"is in use by process {os.getpid()}"):
        refuse_if_live(tmp_path, other)
    lock.release()
    refuse_if_live(tmp_path, other)
    path = write(tmp_path, replace(ME, born=ME.born - 1))  # dead
    refuse_if_live(tmp_path, other)
    path = write(tmp_path, ELSEWHERE)  # silent
    start = time.monotonic()
    refuse_if_live(tmp_path, ME, patience=1.0)
    assert time.monotonic() - start > 1
    os.utime(path, (time.time() - 61, time.time() - 61))
    refuse_if_live(tmp_path, ME, patience=1000)


def test_a_lock_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text('{"token": ')
    RunLock.take(tmp_path, ME).check()


def test_slurm_names_itself(tmp_path: Path) -> None:
    holder = Holder.this({"SLURM_JOB_ID": "77", "SLURM_RESTART_COUNT": "2"})
    assert (holder.job, holder.restart) == ("77", 2)
    assert "Slurm job 77" in str(holder)
