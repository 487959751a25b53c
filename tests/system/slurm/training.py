"""The demo's training on two nodes of the local Slurm, one rank on each, and what became of it."""

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from pivot.demo.run import CHECKPOINT
from pivot.report.metrics import read_metrics
from tests.system.running import ROOT, command, pivot
from tests.system.slurm.cluster import Cluster
from tests.system.slurm.jobs import Job

STEPS = 9
RUN = [
    "--config", "demo", f"model.path={CHECKPOINT}", f"train.steps={STEPS}", "train.prompts_per_step=4",
    "train.group_size=8", "train.validate_every=100", "train.checkpoint_every=3",
]  # fmt: skip
ALLOCATION = [
    "cluster.nodes=2", "cluster.gpus_per_node=1", "cluster.ranks_per_node=1", "cluster.cpus_per_task=4",
    "cluster.exclusive=false", "cluster.min_disk_gb=0", "cluster.min_shm_gb=0", f"cluster.python={sys.executable}",
]  # fmt: skip
START = 240.0  # seconds in which a start must come to its first step, on a busy machine


@dataclass(frozen=True, slots=True)
class Training:
    """A run directory and the job that trains in it."""

    directory: Path
    job: Job

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    def attempts(self) -> list[Path]:
        return sorted((self.directory / "attempts").glob("[0-9]*"))

    def log(self, attempt: Path) -> str:
        """What the first node's rank of an attempt has printed."""
        path = attempt / "rank-node0.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def steps(self, attempt: Path) -> list[int]:
        """That were trained in an attempt."""
        return [int(step) for step in re.findall(r"step +(\d+)/", self.log(attempt))]

    def done(self) -> int:
        """The last step that was trained in any attempt."""
        return max((step for attempt in self.attempts() for step in self.steps(attempt)), default=0)

    def resumed(self, attempt: Path) -> int:
        """The step that an attempt went on from."""
        found = re.search(r"resuming from \S*step-(\d+)", self.log(attempt))
        return int(found[1]) if found else 0

    def moment(self, attempt: Path) -> str:
        """What the first rank was about when it found itself asked to stop."""
        found = re.search(r"asked for in (\w+)", self.log(attempt))
        return found[1] if found else "unknown"

    def saving(self) -> bool:
        """Whether a checkpoint is being written at this moment."""
        return any(self.checkpoints.glob("*.tmp-writing"))

    def outcomes(self) -> list[str]:
        """Of each attempt; crashed for one that left none."""
        return [
            json.loads((attempt / "outcome.json").read_text())["outcome"]
            if (attempt / "outcome.json").is_file() else "crashed"
            for attempt in self.attempts()
        ]  # fmt: skip

    def failure(self, attempt: Path) -> dict[str, object]:
        """The first failure of an attempt."""
        found = [json.loads(path.read_text()) for path in attempt.glob("failures/*.json")]
        return min(found, key=lambda failure: float(failure["time"]))

    def wait(self, ready: Callable[[], bool], what: str, seconds: float = START) -> float:
        """Until `ready`, while the job lives; the time of it (seconds since the epoch)."""
        self.job.wait(ready, seconds, what)
        return time.time()

    def finish(self, seconds: float = 400) -> None:
        """See the job through to its end."""
        state = self.job.end(seconds)
        assert (state, self.outcomes()[-1]) == ("COMPLETED", "done"), self.report()

    def report(self) -> str:
        """Everything that tells what went wrong."""
        logs = "\n".join(f"== {path}\n{path.read_text(errors='replace')[-3000:]}"
                         for attempt in self.attempts()[-2:] for path in sorted(attempt.glob("*.log")))  # fmt: skip
        return f"{self.job.output()}\n{logs}"


def submit(cluster: Cluster, directory: Path, pivots: Path, *overrides: str, options: Sequence[str] = ()) -> Training:
    """`pivot launch` of the demo's training."""
    done = launch(cluster, directory, pivots, *overrides, options=options)
    assert done[0] == 0, done[1]
    return Training(directory, submitted(cluster, done[1]))


def submitted(cluster: Cluster, said: str) -> Job:
    found = re.search(r"job (\d+)", said)
    assert found, said
    return Job(cluster, int(found[1]))


def resume(training: Training) -> Training:
    """`pivot resume` of its run directory."""
    cluster = training.job.cluster
    done = cluster.run(*command("resume", training.directory), cwd=ROOT, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return Training(training.directory, submitted(cluster, done.stdout))


def launch(
    cluster: Cluster, directory: Path, pivots: Path, *overrides: str, options: Sequence[str] = ()
) -> tuple[int, str]:
    """Status and output of `pivot launch`."""
    arguments = (*RUN, *ALLOCATION, f"data.pivots={pivots}", f"run.dir={directory}", *overrides)
    done = cluster.run(*command("launch", "train", *options, *arguments), cwd=ROOT, timeout=180)
    return done.returncode, done.stdout + done.stderr


def preempt(cluster: Cluster) -> None:
    """A job with a higher priority wants all nodes for a moment."""
    done = cluster.run("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null",
                       "--wrap=true")  # fmt: skip
    assert done.returncode == 0, done.stderr


def reference(directory: Path, pivots: Path) -> Path:
    """The run directory of the same training on this machine, with nothing happening to it."""
    done = pivot("train", *RUN, f"data.pivots={pivots}", f"run.dir={directory}")
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def differing(ours: Path, theirs: Path) -> list[str]:
    """Names of the tensors that two runs have not ended with to the last bit."""
    left, right = (load_file(run / "hf" / "model.safetensors") for run in (ours, theirs))
    assert left.keys() == right.keys()
    return [name for name in left if not torch.equal(left[name], right[name])]


def curve(run: Path, name: str) -> dict[int, float]:
    """Step -> a metric of a run, where the step has it."""
    return {int(row["step"]): row[name] for row in read_metrics(run / "logs") if name in row}
