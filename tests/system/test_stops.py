"""Training that is stopped, aborted, killed and started again: the same weights, and the right word about each end."""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

from pivot.attempt.directory import Outcome
from tests.system.running import children, zombie
from tests.system.stopping import STEPS, Program, arguments, attempts, candidates, differing, metrics, shared_memory

# What a batch script under Slurm passes on; Lightning would take it for its own environment.
SLURM = {
    "SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "node1",
}  # fmt: skip


@pytest.fixture(scope="module")
def pivots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candidates(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(pivots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole")
    program = Program(*arguments(pivots, run, "train.keep_checkpoints=9"))
    assert program.end() == 0, program.said
    return run


@pytest.mark.slow  # tests/parity/test_stops.py has every phase, on ranks that it forks
def test_stops_in_generation_in_training_and_in_a_save_change_no_bit(pivots: Path, whole: Path, tmp_path: Path) -> None:
    what, before = arguments(pivots, tmp_path), shared_memory()

    program = Program(*what, environment=SLURM)
    program.says("step    1/")
    program.process.send_signal(signal.SIGUSR1)  # the next step has begun to sample
    assert program.end() == 0, program.said
    assert "stopped at step " in program.said
    first = attempts(tmp_path)[0].outcome()
    assert first is not None
    assert (first.outcome, first.reason) == ("stopped", "USR1")

    program = Program(*what)
    program.says("resuming from ")
    program.wait(lambda: any(tmp_path.glob("checkpoints/*.tmp-writing")), "a save began")
    attempts(tmp_path)[-1].request_stop("by hand")
    assert program.end() == 0, program.said
    assert "(by hand, asked for in " in program.said

    program = Program(*what)
    assert program.end() == 0, program.said
    assert attempts(tmp_path)[-1].outcome() == Outcome("done", STEPS, "nothing is left to do")
    assert differing(tmp_path, whole) == []
    assert metrics(tmp_path) == metrics(whole)
    assert sorted(metrics(tmp_path)) == list(range(STEPS))
    assert shared_memory() <= before
    assert not (tmp_path / "lock.json").exists()


def end_at_once(program: Program, run: Path) -> None:
    """Two signals: the second one is obeyed without a save."""
    program.wait((run / "checkpoints" / "step-000002").is_dir, "a checkpoint was there")
    os.killpg(program.process.pid, signal.SIGINT)  # as a terminal does, to all processes at once
    program.says("pivot: INT: saving, then ending")
    os.killpg(program.process.pid, signal.SIGINT)
    asked = time.monotonic()
    assert program.end() == 1, program.said
    assert time.monotonic() - asked < 10
    assert program.lines[-1].startswith("pivot: asked to end at once: nothing was saved")


def test_a_second_signal_and_a_killed_rank(pivots: Path, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        end_at_once(Program(*arguments(pivots, tmp_path), environment={"TMPDIR": scratch}), tmp_path)
        assert not list(Path(scratch).glob("torchelastic_*"))  # nobody would remove it
    assert attempts(tmp_path)[0].outcome() is None

    program = Program(*arguments(pivots, tmp_path))
    program.says("resuming from ")
    program.says("step    3/")
    ranks = children(program.process.pid)
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    assert program.end() == 1, program.said
    assert time.monotonic() - killed < 60
    assert program.lines[-1].startswith("pivot: rank 1 on "), program.said
    assert "killed: it ended without a word" in program.lines[-1]
    assert all(not Path(f"/proc/{rank}").exists() or zombie(rank) for rank in ranks)
    assert attempts(tmp_path)[1].failures()[0].rank == 1


LAYOUTS = {
    "one rank": ("parallel.ranks=1", "parallel.tensor=1", "parallel.expert=1"),
    "two stages": ("parallel.tensor=1", "parallel.expert=1", "parallel.pipeline=2"),
    "two replicas": ("parallel.tensor=1", "parallel.expert=1"),
    "four ranks": ("parallel.ranks=4",),
}


@pytest.mark.slow  # tests/parity/test_checkpoint*.py have the layouts, without a program around them
@pytest.mark.parametrize("name", LAYOUTS)
def test_another_layout_goes_on_with_the_same_curve(name: str, pivots: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "checkpoints" / "step-000002", tmp_path / "checkpoints" / "step-000002")
    program = Program(*arguments(pivots, tmp_path, *LAYOUTS[name]))
    assert program.end() == 0, program.said
    assert "resuming from" in program.said
    ours, theirs = metrics(tmp_path), metrics(whole)
    assert sorted(ours) == [2, 3, 4, 5]
    for step, row in ours.items():
        for key in ("loss", "reward_mean", "grad_norm"):
            assert float(row[key]) == pytest.approx(float(theirs[step][key]), abs=1e-4), (step, key)
