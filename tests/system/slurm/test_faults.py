"""Every fault that a training job meets in its weeks on a cluster: it ends with the weights of one that met none.

The table of what each fault costs is printed at the end of the tests.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pivot.attempt.monitor import TICK
from tests.system.slurm.cluster import SMALL_DISK, Cluster, comm, until
from tests.system.slurm.jobs import everywhere, frozen, process_of
from tests.system.slurm.table import Cost, Table
from tests.system.slurm.training import STEPS, Training, curve, differing, preempt, resume, submit

pytestmark = pytest.mark.slurm
MINUTE = 60.0
QUICK = "cluster.env.PIVOT_HEALTH=nodes"  # nodes are looked at, but there is no all-reduce before each start


def begun(training: Training, attempt: int) -> bool:
    """Whether the attempt of this number (from 1) has trained a step."""
    attempts = training.attempts()
    return len(attempts) >= attempt and bool(training.steps(attempts[attempt - 1]))


def strike(training: Training, table: Table, fault: str, blow: float) -> None:
    """After a fault at `blow`: the job is started again and gets on; what that has cost."""
    struck = training.attempts()[-1]
    restarts = training.job.restarts
    noticed = training.wait(lambda: training.job.restarts > restarts or training.job.state != "RUNNING", "restart", 120)
    done = max(training.steps(struck), default=training.resumed(struck))
    training.wait(lambda: begun(training, len(training.attempts())) and training.attempts()[-1] != struck, "step")
    resumed = training.resumed(training.attempts()[-1])
    table.add(Cost(fault, noticed - blow, done - resumed, resumed))


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The same in every run of a test."""
    return random.Random(request.node.name)


def caught(cluster: Cluster, training: Training, phase: str) -> list[int]:
    """The processes of all ranks, standing still while the first one is in a phase."""
    processes = everywhere(cluster)
    first = process_of(cluster, 0)
    deadline = time.monotonic() + MINUTE
    while True:
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        if training.saving() if phase == "save" else comm(first) == f"pivot:{phase}":
            return processes
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
        assert time.monotonic() < deadline, training.report()
        time.sleep(0.02)


def test_preempted_in_a_save_in_generation_and_in_training(
    cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path
) -> None:
    """By Slurm, for a job of a higher priority, which asks at that moment: the ranks stand still until it has."""
    training = submit(cluster, tmp_path / "run", pivots, QUICK, "cluster.partition=low", "train.checkpoint_every=2")
    for attempt, phase in enumerate(("save", "generate", "train"), 1):
        training.wait(lambda number=attempt: begun(training, number), "step")
        now = training.attempts()[-1]
        with frozen(caught(cluster, training, phase)):
            blow = time.time()
            preempt(cluster)
            training.wait((now / "stop").exists, "stop file")
            time.sleep(TICK)  # so that all look for it as soon as they go on
        strike(training, table, f"pre-empted: {phase}", blow)
        assert phase in ("save", training.moment(now))
        assert table.newest.lost == 0
    training.finish()
    assert training.outcomes() == ["stopped", "stopped", "stopped", "done"]
    assert differing(training.directory, uninterrupted) == []


def test_a_killed_rank(
    cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path,
    chance: random.Random,
) -> None:  # fmt: skip
    training = submit(cluster, tmp_path / "run", pivots, QUICK)
    training.wait(lambda: training.done() >= 4, "step 4")
    time.sleep(chance.uniform(0, 1.5))
    blow = time.time()
    os.kill(process_of(cluster, 1), signal.SIGKILL)
    strike(training, table, "a rank killed (SIGKILL)", blow)
    assert table.newest.detected < MINUTE
    line = f"rank 1 on {cluster.nodes[1].name}: ended by signal 9, by hand or because memory ran out"
    assert line in training.job.output()
    training.finish()
    assert differing(training.directory, uninterrupted) == []


def test_a_crashed_node(cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path) -> None:
    training = submit(cluster, tmp_path / "run", pivots, QUICK)
    training.wait(lambda: training.done() >= 4, "step 4")
    blow = time.time()
    cluster.crash(cluster.nodes[1])
    try:
        until(lambda: training.job.state != "RUNNING", 2 * MINUTE, "the crash", training.report)
    finally:
        cluster.heal(cluster.nodes[1])
    strike(training, table, "a node crashed", blow)
    training.finish()
    assert differing(training.directory, uninterrupted) == []


def test_a_killed_node_daemon(
    cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path
) -> None:
    """Slurm gives the node up and starts the job again; the old ranks, slow until then, may not save any more."""
    training = submit(cluster, tmp_path / "run", pivots, QUICK)
    training.wait(lambda: training.done() >= 4, "step 4")
    blow = time.time()
    cluster.kill_daemon(cluster.nodes[1])
    try:
        with frozen(everywhere(cluster)):
            until(lambda: training.job.state != "RUNNING", 2 * MINUTE, "the loss of the node", training.report)
    finally:
        cluster.heal(cluster.nodes[1])
    strike(training, table, "a node daemon killed", blow)
    training.finish()
    assert differing(training.directory, uninterrupted) == []


def test_a_hang(cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path) -> None:
    """A rank stands still for good."""
    training = submit(cluster, tmp_path / "run", pivots, QUICK, "run.hang_after=60")
    training.wait(lambda: training.done() >= 4, "step 4")
    hung = process_of(cluster, 1)
    blow = time.time()
    os.kill(hung, signal.SIGSTOP)
    strike(training, table, "a rank hangs (run.hang_after=60)", blow)
    assert table.newest.detected < 2 * MINUTE
    first = training.attempts()[0]
    assert "no progress for" in str(training.failure(first)["reason"])
    assert "Thread" in (first / "stacks" / "00000.txt").read_text()
    training.finish()
    assert differing(training.directory, uninterrupted) == []


def test_the_time_limit(cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path) -> None:
    """The ranks stand still until the time is nearly over; then they save, and nothing is lost."""
    training = submit(cluster, tmp_path / "run", pivots, QUICK, "cluster.time=00:03:00", "cluster.signal_seconds=60",
                      "cluster.save_seconds=50")  # fmt: skip
    training.wait(lambda: training.done() >= 4, "step 4")
    now = training.attempts()[-1]
    with frozen(everywhere(cluster)):
        training.wait((now / "stop").exists, "stop file")
    blow = time.time()
    strike(training, table, "the time limit", blow)
    assert set(training.outcomes()[:-1]) == {"stopped"}
    assert table.newest.lost == 0
    training.finish()
    assert differing(training.directory, uninterrupted) == []


def test_a_full_disk(cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path) -> None:
    """A save fails: the job ends with the reason, and `pivot resume` goes on once there is room again."""
    run = tmp_path / "run"
    run.mkdir()
    (cluster.small / "checkpoints").mkdir()
    (run / "checkpoints").symlink_to(cluster.small / "checkpoints")
    training = submit(cluster, run, pivots, QUICK)
    training.wait(lambda: training.done() >= 4, "step 4")
    filler = cluster.small / "filler"
    blow = time.time()
    with suppress(OSError):
        filler.write_bytes(bytes(SMALL_DISK))
    state = training.job.end(120)
    noticed = time.time()
    assert (state, training.outcomes()) == ("FAILED", ["refused"]), training.report()
    assert "No space left on device" in training.job.output()
    done = training.done()
    filler.unlink()
    again = resume(training)
    again.finish()
    step = again.resumed(again.attempts()[-1])
    table.add(Cost("the disk full during a save", noticed - blow, done - step, step))
    assert differing(again.directory, uninterrupted) == []


def test_one_node_goes_on_where_two_have_been(
    cluster: Cluster, pivots: Path, uninterrupted: Path, table: Table, tmp_path: Path
) -> None:
    """With another layout too: the same samples and the same losses, but for rounding."""
    training = submit(cluster, tmp_path / "run", pivots, QUICK)
    training.wait(lambda: training.done() >= 5, "step 5")
    training.job.cancel()
    training.job.end(60)
    alone = ["cluster.nodes=1", "parallel.tensor=1", "parallel.expert=1"]
    again = submit(cluster, training.directory, pivots, QUICK, *alone, options=["--accept"])
    again.finish()
    assert again.resumed(again.attempts()[-1]) >= 3
    for name in ("loss", "reward_mean", "grad_norm"):
        ours, theirs = curve(training.directory, name), curve(uninterrupted, name)
        assert len(ours) == STEPS
        assert ours == pytest.approx(theirs, abs=1e-4)
