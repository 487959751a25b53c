"""SIGKILL at any instant of a save leaves a checkpoint to resume from, and the resumed weights are its weights."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pivot.layout import Layout
from pivot.train.retention import newest, step_of
from tests.parity import rank_server
from tests.parity.conftest import Reference
from tests.parity.launch import ROOT, free_port

WORKERS = Path(__file__).with_name("checkpoint_workers.py")
RANKS = 2
PATIENCE = 240.0


class Run:
    """Attempts of one training loop on two ranks that saves all the time; each is killed and the next resumes."""

    def __init__(self, moe: Reference, folder: Path) -> None:
        self.checkpoints = folder / "checkpoints"
        self.checkpoints.mkdir()
        self.folder = folder
        self.log = folder / "log.txt"
        self.log.touch()
        self.processes: list[subprocess.Popen[bytes]] = []
        arguments = {
            "path": moe.path,
            "samples": moe.samples[:1],
            "layout": Layout(tensor=2, expert=2),
            "folder": self.checkpoints,
            "log": self.log,
        }
        torch.save(arguments, folder / "arguments.pt")

    def start(self) -> None:
        """The ranks, without a launcher between them and us."""
        port = free_port()
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS)}
        paths = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [
            sys.executable,
            "-W",
            "ignore",
            rank_server.__file__,
            str(WORKERS),
            "run_until_killed",
            str(self.folder),
        ]
        for rank in range(RANKS):
            environment = {**os.environ, **paths, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            with (self.folder / f"output{rank}.txt").open("ab") as output:
                self.processes.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))

    def wait_for(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                raise AssertionError((self.folder / "output0.txt").read_text()[-4000:])
            time.sleep(0.0005)

    def kill(self, chance: random.Random) -> None:
        """One rank, then the other."""
        for process in chance.sample(self.processes, RANKS):
            process.send_signal(signal.SIGKILL)
            time.sleep(chance.choice([0.0, 0.01]))
        for process in self.processes:
            process.wait()
        self.processes = []

    def lines(self) -> list[tuple[str, int, str]]:
        """(resumed or saving, step, digest of rank 0's weights), the newest last."""
        words = [line.split() for line in self.log.read_text().splitlines()]
        return [(word, int(step), digest) for word, step, digest in words]

    def leftovers(self) -> list[str]:
        return [path.name for path in self.checkpoints.iterdir() if ".tmp-" in path.name]


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_every_kill_during_a_save_leaves_a_good_checkpoint(kills: int, moe: Reference, tmp_path: Path) -> None:
    run, chance = Run(moe, tmp_path), random.Random(kills)
    digests: dict[int, str] = {}
    reached = interrupted = 0
    try:
        for attempt in range(kills + 1):
            before = len(run.lines())
            run.start()
            run.wait_for(lambda seen=before: len(run.lines()) > seen + 2)  # resumed, and two saves asked for
            asked_at = time.monotonic()
            run.wait_for(lambda seen=before: len(run.lines()) > seen + 3)
            period = time.monotonic() - asked_at
            assert run.lines()[before][:2] == ("resumed", reached)
            time.sleep(chance.uniform(0, 1.5 * period))
            run.wait_for(lambda: any(".tmp-writing" in name for name in run.leftovers()))
            run.kill(chance)
            interrupted += bool(run.leftovers())
            for _, step, digest in run.lines()[before:]:  # what was saved, and the steps that were lost and taken again
                assert digests.setdefault(step, digest) == digest, (attempt, step)
            asked = run.lines()[-1][1]
            found = newest(run.checkpoints)
            assert found is not None, attempt
            reached = step_of(found)
            assert reached in (asked, asked - 1), attempt  # the save before one that is asked for is whole
    finally:
        if run.processes:
            run.kill(chance)
    assert interrupted > kills / 4
    assert reached >= 2 * kills
