"""One local Slurm for all tests here, the data they train on, and what they find out about faults."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories
from tests.system.slurm.cluster import Cluster, unavailable
from tests.system.slurm.table import Table
from tests.system.slurm.training import reference

FOUND = Table()


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    """Two idle nodes, or a skip that says why there are none."""
    reason = unavailable()
    if reason:
        pytest.skip(reason)
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="slurm-")))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(started: Cluster) -> Iterator[Cluster]:
    """The nodes, on which a test that failed leaves no job in the way of the next."""
    yield started
    started.clear()


@pytest.fixture(scope="session")
def pivots(started: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turns to train on: all candidates of some trajectories, for mining them would only take time."""
    folder = tmp_path_factory.mktemp("data")
    write_trajectories(expert_trajectories(20, 0, "train"), folder / "trajectories.jsonl")
    convert([folder / "trajectories.jsonl"], folder)
    return folder / "candidates.jsonl"


@pytest.fixture(scope="session")
def uninterrupted(pivots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the training to which nothing happens, without Slurm."""
    return reference(tmp_path_factory.mktemp("reference"), pivots)


@pytest.fixture(scope="session")
def table() -> Table:
    """Printed at the end."""
    return FOUND


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FOUND.costs:
        terminalreporter.section("what faults cost")
        for line in FOUND.lines():
            terminalreporter.write_line(line)
