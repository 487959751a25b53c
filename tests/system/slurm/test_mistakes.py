"""A user's mistakes on a cluster: each is one line with the fix, and no rank starts that cannot end well."""

import json
import shutil
import socket
import time
from pathlib import Path

import pytest

from pivot.demo.run import CHECKPOINT
from tests.system.slurm.cluster import Cluster, until
from tests.system.slurm.jobs import Job, frozen, process_of
from tests.system.slurm.training import Training, launch, submit

WHOLE_NODES = ["cluster.gpus_per_node=8", "cluster.cpus_per_task=96", "cluster.exclusive=true"]


def refused(cluster: Cluster, run: Path, pivots: Path, *overrides: str) -> str:
    """The line of a launch that is refused before there is a job."""
    status, said = launch(cluster, run, pivots, *overrides)
    assert status == 2, said
    assert len(said.strip().splitlines()) == 1, said
    return said


def ended(training: Training, says: str, state: str = "FAILED") -> str:
    """What a job has printed that ends at once, in a line with `says`."""
    assert training.job.end(120) == state, training.report()
    said = training.job.output()
    assert any(says in line for line in said.splitlines()), said
    assert "Traceback" not in said
    return said


def test_nodes_that_are_not_there(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    line = refused(cluster, tmp_path, pivots, "cluster.nodes=4")
    assert "has 2 nodes (gpu:h100:8); change cluster.nodes (4)" in line


def test_a_world_that_does_not_divide(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    line = refused(cluster, tmp_path, pivots, "cluster.nodes=1")
    assert "1 ranks do not divide by tensor 2" in line
    assert "1 nodes x 1 ranks = 1" in line


@pytest.mark.slurm
def test_a_run_directory_that_is_not_shared(cluster: Cluster, pivots: Path) -> None:
    training = submit(cluster, cluster.partial / "run", pivots)
    said = ended(training, f"{cluster.nodes[1].name}: run.dir {cluster.partial}/run is not shared")
    assert "move it to a file system that every node mounts" in said
    assert not list(training.attempts()[0].glob("rank-node*.log"))


def test_a_model_that_one_node_lacks(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    """That node is left out; the job waits for another one."""
    model = cluster.partial / "model"
    shutil.copytree(CHECKPOINT, model)
    training = submit(cluster, tmp_path / "run", pivots, f"model.path={model}")
    until(lambda: cluster.nodes[1].name in training.job.info().get("ExcNodeList", ""), 60, "exclusion", training.report)
    line = f"{cluster.nodes[1].name}: model.path={model}: not on this node; put it on a file system that every node"
    assert line in training.job.output()
    training.job.cancel()


@pytest.mark.slurm
def test_a_port_that_is_taken(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    """The next one is used."""
    training = submit(cluster, tmp_path / "run", pivots, "cluster.sbatch=[--hold]")
    port = 20000 + training.job.number * 7 % 20000
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("0.0.0.0", port))
        squatter.listen()
        assert cluster.run("scontrol", "release", str(training.job.number)).returncode == 0
        training.wait(lambda: "health (reduce): 2 nodes ok" in training.job.output(), "health", 120)
    assert f"port {port} is taken: trying the next" in training.job.output()
    training.job.cancel()
    training.job.end(60)


@pytest.mark.slurm
def test_checkpoints_of_another_model(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    """Its weights have other shapes; with --accept the launch goes through, and the ranks refuse."""
    model = tmp_path / "model"
    shutil.copytree(CHECKPOINT, model)
    first = submit(cluster, tmp_path / "run", pivots, f"model.path={model}", "train.steps=1")
    first.finish()
    line = refused(cluster, tmp_path / "run", pivots, f"model.path={CHECKPOINT}", "train.steps=1")
    assert f"has checkpoints of another configuration: model.path {model} -> {CHECKPOINT}" in line


@pytest.mark.slurm
def test_the_lock_of_a_dead_run_and_two_jobs_on_one_directory(cluster: Cluster, pivots: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    dead = {"token": "0", "host": "node-gone", "pid": 1, "born": 1, "since": time.time(), "job": "1", "restart": 0}
    (run / "lock.json").write_text(json.dumps(dead))
    training = submit(cluster, run, pivots)
    training.wait(lambda: training.done() >= 1, "step")
    said = training.log(training.attempts()[0])
    assert "was locked by process 1 on node-gone, Slurm job 1" in said
    assert "which is dead: taken over" in said
    script = run / "launch" / "train.sbatch"
    with frozen([process_of(cluster, 1)]):  # the job stands still, and lives
        done = cluster.run("sbatch", "--parsable", "--job-name=another", f"--output={run}/second.log", script)
        assert done.returncode == 0, done.stderr
        second = Training(run, Job(cluster, int(done.stdout)))
        assert second.job.end(240) == "FAILED", second.report()
    said = second.job.output()
    assert "is in use by process" in said
    assert f"Slurm job {training.job.number}" in said
    assert training.job.end(300) == "COMPLETED", training.report()
    assert training.outcomes() == ["done", "refused"]
