"""Training that is stopped again and again at random moments: no step lost, no sample drawn twice, nothing left behind.

`make soak` stops a hundred times (SOAK_STARTS) and writes a table to SOAK_TABLE if that is set; `test_stops.py` is the
short form.
"""

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.system.running import children, zombie
from tests.system.stopping import Program, arguments, attempts, candidates, differing, metrics, shared_memory

STOPPED = re.compile(r"stopped at step (\d+) \((.+?)(?:, asked for in (\w+), agreed on ([\d.]+) s later)?\);")
LONGEST_STEP = 10.0  # seconds, on a busy machine
HEADER = "| start | stopped by | asked for in | agreed on after (s) | ended after (s) | resumed at step |"


def stop_somewhere(program: Program, run: Path, source: random.Random) -> tuple[str, float, list[int]]:
    """Stop a program at a random moment; by what, the seconds until it had ended with status 0, and its ranks."""
    program.wait(lambda: len(children(program.process.pid)) == 2, "its ranks were there")
    ranks = children(program.process.pid)
    way = source.choice(["signal", "file", "save", "start"])
    if way != "start":
        program.wait(lambda: any(line.startswith("step ") for line in program.lines), "a step was done")
        time.sleep(source.uniform(0, 2))
    if way == "save":
        wait_for_save(program, run)
    asked = time.monotonic()
    if way == "file":
        attempts(run)[-1].request_stop("file")
    elif program.process.poll() is None:
        program.process.send_signal(source.choice([signal.SIGUSR1, signal.SIGTERM, signal.SIGINT]))
    assert program.end() == 0, program.said
    return way, time.monotonic() - asked, ranks


def wait_for_save(program: Program, run: Path) -> None:
    """Until a checkpoint is being written, or the program is over."""
    while program.process.poll() is None and not any(run.glob("checkpoints/*.tmp-writing")):
        time.sleep(0.002)


def small(pivots: Path, run: Path, steps: int) -> list[str]:
    """Steps of half a second."""
    return arguments(pivots, run, f"train.steps={steps}", "train.checkpoint_every=3", "train.validate_every=7",
                     "train.prompts_per_step=4", "train.group_size=4")  # fmt: skip


def soak(pivots: Path, run: Path, starts: int, steps: int, seed: int) -> list[str]:
    """Stops training `starts` times and lets it end; rows of a table."""
    source, rows, before, total = random.Random(seed), [], shared_memory(), 0
    what = small(pivots, run, steps)
    for number in range(1, starts + 1):
        with tempfile.TemporaryDirectory(prefix="soak-") as scratch:
            program = Program(*what, environment={"TMPDIR": scratch})
            way, seconds, ranks = stop_somewhere(program, run, source)
            assert not [left for left in os.listdir(scratch) if not left.startswith("torchinductor_")]
        assert all(not Path(f"/proc/{rank}").exists() or zombie(rank) for rank in ranks)
        assert shared_memory() <= before
        outcome = attempts(run)[-1].outcome()
        assert outcome is not None
        assert outcome.outcome == "stopped", "more steps than stops are needed"
        assert not (run / "lock.json").exists()
        assert not list(run.glob("checkpoints/*.tmp-*"))
        found = STOPPED.search(program.said)
        resumed = re.search(r"resuming from .*step-(\d+)", program.said)
        asked_before = total if outcome.step is None else 0  # it was asked to stop before it had read the checkpoint
        at = int(resumed.group(1)) if resumed else asked_before
        assert at == total, "a step that was saved is lost"
        total = outcome.step or total
        phase, agreed = (found.group(3) or "-", found.group(4) or "-") if found else ("start", "-")
        rows.append(f"| {number} | {way} | {phase} | {agreed} | {seconds:.1f} | {at} |")
    program = Program(*what)
    assert program.end(LONGEST_STEP * steps) == 0, program.said
    return rows


def check(run: Path, whole: Path, steps: int) -> None:
    """The weights of a run that nothing interrupted, and its numbers at every step."""
    assert differing(run, whole) == []
    assert sorted(metrics(run)) == list(range(steps))
    assert metrics(run) == metrics(whole)


def whole(pivots: Path, run: Path, steps: int) -> Path:
    program = Program(*small(pivots, run, steps))
    assert program.end(LONGEST_STEP * steps) == 0, program.said
    return run


@pytest.mark.slow
def test_a_hundred_stops_at_random_moments(tmp_path: Path) -> None:
    starts = int(os.environ.get("SOAK_STARTS", "100"))
    steps = 4 * starts
    pivots = candidates(tmp_path)
    rows = soak(pivots, tmp_path / "run", starts, steps, seed=1)
    table = "\n".join([HEADER, re.sub(r"[^|]+", " --- ", HEADER), *rows])
    print(table)
    if "SOAK_TABLE" in os.environ:
        Path(os.environ["SOAK_TABLE"]).write_text(table + "\n")
    check(tmp_path / "run", whole(pivots, tmp_path / "whole", steps), steps)
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listed
