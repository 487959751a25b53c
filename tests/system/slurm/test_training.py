"""The demo's training on two nodes: pre-empted, requeued and finished, as if nothing had happened."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pivot.demo.run import CHECKPOINT
from tests.system.running import ROOT, command, pivot
from tests.system.slurm.cluster import Cluster
from tests.system.slurm.jobs import frozen, process_of
from tests.system.slurm.training import RUN, differing, preempt, submit


def test_a_preempted_job_loses_nothing_and_shares_its_directory_with_nobody(
    cluster: Cluster, pivots: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    training = submit(cluster, run, pivots, "cluster.partition=low")
    training.wait(lambda: training.done() >= 2, "step 2")
    with frozen([process_of(cluster, 1)]):  # the job stands still, and lives
        second = pivot("train", *RUN, f"data.pivots={pivots}", f"run.dir={run}", "parallel.ranks=2")
    assert second.returncode == 2, second.stdout + second.stderr
    assert "is in use by process" in second.stderr
    assert OmegaConf.load(run / "train.yaml").cluster.partition == "low"  # nothing of the live one was changed
    assert len(second.stderr.strip().splitlines()) == 1
    assert f"Slurm job {training.job.number}" in second.stderr
    preempt(cluster)
    training.finish()
    assert training.outcomes() == ["stopped", "done"]
    first, last = training.attempts()
    assert training.resumed(last) == training.steps(first)[-1]  # saved where it was asked to stop
    assert differing(training.directory, uninterrupted) == []


def clusters() -> list[str]:
    """Recipes that say what they ask of Slurm."""
    found = {path.stem: OmegaConf.load(path) for path in sorted((ROOT / "conf" / "recipes").glob("*.yaml"))}
    return [name for name, recipe in found.items() if "cluster" in recipe]


@pytest.mark.parametrize("recipe", ["demo", *clusters()])
def test_slurm_accepts_what_is_launched(cluster: Cluster, pivots: Path, tmp_path: Path, recipe: str) -> None:
    """On 16 whole nodes where the recipe doesn't say how many; they are powered off, for nothing is going to run."""
    size = [] if recipe in clusters() else ["cluster.nodes=16", "cluster.cpus_per_task=96"]
    inputs = [f"model.path={CHECKPOINT}", f"data.pivots={pivots}", f"data.validation={pivots}"]
    arguments = [*inputs, f"run.dir={tmp_path / 'run'}", *size]
    accepted = cluster.run(
        *command("launch", "train", "--config", recipe, "--test-only", "cluster.partition=large", *arguments), cwd=ROOT
    )
    assert accepted.returncode == 0, accepted.stderr
    assert "in partition large" in accepted.stdout
    assert not (tmp_path / "run").exists()
