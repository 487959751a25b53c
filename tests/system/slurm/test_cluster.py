"""The local Slurm behaves as a real one where the product depends on it."""

from pathlib import Path

import pytest

from tests.system.slurm.cluster import Cluster, until
from tests.system.slurm.jobs import Job

HEADER = "#!/bin/bash\n#SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=8 --cpus-per-task=96 --mem=0 --requeue\n"


def submit(cluster: Cluster, folder: Path, body: str, *options: str) -> Job:
    script = folder / "job.sbatch"
    script.write_text(HEADER + body)
    done = cluster.run("sbatch", "--parsable", f"--output={folder}/out.log", "--open-mode=append", *options, script)
    assert done.returncode == 0, done.stderr
    return Job(cluster, int(done.stdout))


def said(job: Job) -> list[str]:
    """The script's own words."""
    return [line for line in job.output().splitlines() if line in ("up", "USR1")]


def test_two_nodes_with_gpus_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    body = "srun bash -c 'echo \"$(hostname) $CUDA_VISIBLE_DEVICES $(ls /dev/shm | wc -l)\"; touch /dev/shm/mine'\n"
    job = submit(cluster, tmp_path, body)
    assert job.end(60) == "COMPLETED"
    said = sorted((tmp_path / "out.log").read_text().splitlines())
    assert said == [f"{node.name} 0,1,2,3,4,5,6,7 0" for node in cluster.nodes]


def test_preemption_signals_the_batch_script_first(cluster: Cluster, tmp_path: Path) -> None:
    body = "trap 'echo USR1; scontrol requeue \"$SLURM_JOB_ID\"; exit' USR1\necho up\nwhile :; do sleep 0.1; done\n"
    job = submit(cluster, tmp_path, body, "--partition=low", "--signal=B:USR1@60", "--time=10")
    job.wait(lambda: "up" in job.output(), 30, "start")
    other = submit(cluster, tmp_path, "true\n", "--partition=high", "--time=1", "--output=/dev/null")
    job.wait(lambda: other.state == "COMPLETED" and said(job)[-1] == "up", 60, "start after the other job")
    assert said(job)[:3] == ["up", "USR1", "up"]  # it may have been there before the other job, and be told again


@pytest.mark.slurm
def test_a_crashed_node_requeues_the_job(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "echo up\nsrun sleep 60\n")
    job.wait(lambda: "up" in job.output(), 30, "start")
    cluster.crash(cluster.nodes[1])
    until(lambda: job.restarts == 1, 120, "requeue", cluster.logs)
    cluster.heal(cluster.nodes[1])
    job.wait(lambda: said(job) == ["up", "up"], 60, "second start")
