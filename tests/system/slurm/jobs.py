"""Jobs of the local Slurm, as a test sees them."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.system.slurm.cluster import Cluster
from tests.system.slurm.settings import Node

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE")


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was submitted."""

    cluster: Cluster
    number: int

    def info(self) -> dict[str, str]:
        """What `scontrol show job` says."""
        shown = self.cluster.run("scontrol", "show", "job", "-o", str(self.number)).stdout
        return dict(re.findall(r"(\S+?)=(\S*)", shown))

    @property
    def state(self) -> str:
        return self.info().get("JobState", "UNKNOWN")

    @property
    def restarts(self) -> int:
        return int(self.info().get("Restarts", 0))

    @property
    def status(self) -> int:
        """Exit status of the batch script."""
        return int(self.info()["ExitCode"].split(":")[0])

    def wait(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Until `ready`, which must come before the job ends.

        Raises:
            AssertionError: with what the job has printed.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            state = self.state
            if time.monotonic() > deadline or (state in ENDED and not ready()):
                raise AssertionError(f"job {self.number} is {state}, and no {what}\n{self.output()}")
            time.sleep(0.1)

    def end(self, seconds: float) -> str:
        """Wait for the job to be over; its last state."""
        self.wait(lambda: self.state in ENDED, seconds, "end")
        return self.state

    def cancel(self) -> None:
        self.cluster.run("scancel", "--full", str(self.number))

    def output(self) -> str:
        """The end of what the batch script has printed."""
        path = Path(self.info().get("StdOut", ""))
        return path.read_text(errors="replace")[-6000:] if path.is_file() else "(no output)"


def ranks(cluster: Cluster, node: Node, program: str = "train.py") -> Iterator[tuple[int, int]]:
    """(rank, process id as seen from here) of each rank of a program on a node."""
    for pid in sorted(cluster.processes(node)):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # it has just ended
            continue
        number = next((int(each[5:]) for each in environment if each.startswith(b"RANK=")), None)
        if number is not None and any(word.endswith(f"/{program}".encode()) for word in words):
            yield number, pid


@contextmanager
def frozen(processes: list[int]) -> Iterator[None]:
    """They stand still."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def everywhere(cluster: Cluster) -> list[int]:
    """The processes of all ranks."""
    return [pid for node in cluster.nodes for _, pid in ranks(cluster, node)]


def process_of(cluster: Cluster, wanted: int) -> int:
    return next(pid for node in cluster.nodes for rank, pid in ranks(cluster, node) if rank == wanted)
