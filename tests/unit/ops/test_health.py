"""What a node says about itself, on this one."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from pivot.config import load, save
from pivot.ops import health
from pivot.ops.health import Asked, Fault, faults
from pivot.ops.reduce import Meeting, all_well, reduce


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    monkeypatch.setattr(health, "CANARY_SECONDS", 0.0)
    monkeypatch.setattr(health, "gpus", lambda: 8)
    attempt = tmp_path / "attempts" / "001"
    attempt.mkdir(parents=True)
    (attempt / "canary").write_text("7-0\n")
    (tmp_path / "pivots.jsonl").touch()
    save(load("demo", [f"data.pivots={tmp_path}/pivots.jsonl", f"model.path={tmp_path}"]), tmp_path / "train.yaml")
    return Asked(attempt, "7-0", tmp_path, "train", 8, 0.0, 0.0, "localhost", 29500)


def changed(asked: Asked, **changes: object) -> list[Fault]:
    values = {name: getattr(asked, name) for name in asked.__slots__} | changes
    return list(faults(Asked(**values)))


def test_a_node_that_has_everything(asked: Asked) -> None:
    assert list(faults(asked)) == []


def test_each_thing_that_can_be_missing(asked: Asked, tmp_path: Path) -> None:
    assert [fault.reason for fault in changed(asked, gpus=9)] == [
        "8 GPUs where 9 were asked for; nvidia-smi on the node says more"
    ]
    assert "free in /dev/shm, 1e+06 wanted" in changed(asked, min_shm_gb=1e6)[0].reason
    assert "cannot resolve no-such-host.invalid" in changed(asked, master="no-such-host.invalid")[0].reason
    (disk,) = changed(asked, min_disk_gb=1e9)
    assert (disk.kind, "wanted; free some space or lower cluster.min_disk_gb" in disk.reason) == ("shared", True)
    (shared,) = changed(asked, canary="7-1")  # an older start's, or another node's directory
    assert (shared.kind, "is not shared" in shared.reason) == ("shared", True)
    (tmp_path / "pivots.jsonl").unlink()
    (lacking,) = faults(asked)
    assert (lacking.kind, lacking.reason) == (
        "input",
        f"data.pivots={tmp_path}/pivots.jsonl: not on this node; put it on a file system that every node mounts",
    )


def test_gpus_are_those_that_work_and_are_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert health.gpus() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert health.gpus() == 4
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: a)'\necho 'Unable to determine'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert health.gpus() == 1


def test_an_all_reduce_of_one_node(unused_port: int) -> None:
    """Of two nodes: in the tests on the local Slurm. In a process of its own: it makes the default process group."""
    program = "from pivot.ops.reduce import Meeting, reduce; print(reduce(Meeting('127.0.0.1', {}, 'n1', 0, 1, 0)))"
    said = subprocess.check_output([sys.executable, "-c", program.format(unused_port)], text=True)
    assert said.startswith("all-reduce of 16 MiB over 1 ranks: ")
    assert said.endswith("on the bus\nNone\n")


def test_nobody_waits_for_a_sick_node(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what it has; the others are well and know that there is no all-reduce."""

    def join(number: int) -> bool:
        store = dist.TCPStore("127.0.0.1", unused_port, 3, number == 0, timedelta(seconds=20), wait_for_workers=False)
        return all_well(store, number, 3, number != 2)

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(join, range(3))) == [False, False, False]
    monkeypatch.setattr("pivot.ops.reduce.PATIENCE", timedelta(seconds=1))
    fault = reduce(Meeting("127.0.0.1", unused_port, "n1", 1, 2, 0))  # where nobody listens
    assert fault is not None
    assert (fault.kind, fault.reason.split(": ")[0]) == ("network", f"cannot reach 127.0.0.1:{unused_port}")


@pytest.fixture
def unused_port() -> int:
    from pivot.launch import free_port

    return free_port()
