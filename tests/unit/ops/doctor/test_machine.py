"""Shared memory, limits, memory and leftovers."""

import os
import sys
from dataclasses import replace
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import pytest

from pivot.ops.doctor import look, machine
from pivot.ops.doctor.facts import Leftover, Slurm, System
from pivot.ops.doctor.row import Row, Status

GIB = 1 << 30
GOOD = System(
    cpus=96, memory=900 * GIB, shared_total=500 * GIB, shared_free=490 * GIB,
    limits={"nofile": 65536, "nproc": None, "memlock": None}, infiniband=True, interfaces=("lo", "ib0"),
)  # fmt: skip
MORE = "docker: --shm-size=16g or --ipc=host; else mount -o remount,size=16G /dev/shm"
NOFILE = "ulimit -n 65536 before the start, or raise it in limits.conf (Slurm: PropagateResourceLimits)"


def row(name: str, system: System, ranks: int = 8) -> Row:
    (found,) = (found for found in machine.check(system, ranks) if found.name == f"machine.{name}")
    return found


def test_a_good_node() -> None:
    assert machine.check(GOOD, 8) == [
        Row.green("machine.shared-memory", "490.0 GiB free of 500.0 GiB"),
        Row.green("machine.nofile", "65,536"),
        Row.green("machine.nproc", "unlimited"),
        Row.green("machine.memlock", "unlimited"),
        Row.green("machine.memory", "900.0 GiB available"),
        Row.green("machine.cpus", "96"),
        Row.green("machine.leftovers", "no shared memory of dead runs"),
    ]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        (replace(GOOD, shared_total=64 << 20, shared_free=64 << 20),
         Row.red("machine.shared-memory", "64.0 MiB free of 64.0 MiB in /dev/shm", MORE)),
        (replace(GOOD, shared_free=20 << 20),
         Row.red("machine.shared-memory", "20.0 MiB free of 500.0 GiB in /dev/shm", MORE)),
        (replace(GOOD, shared_free=2 * GIB),
         Row.yellow("machine.shared-memory", "2.0 GiB free of 500.0 GiB in /dev/shm for 8 ranks", MORE)),
        (replace(GOOD, shared_total=None), Row.red("machine.shared-memory", "there is no /dev/shm: ranks of a node "
                                                   "cannot talk", "mount a tmpfs there")),
        (replace(GOOD, limits=GOOD.limits | {"nofile": 512}), Row.red(
            "machine.nofile", "512: sockets of ranks, shards and shared memory are open files", NOFILE)),
        (replace(GOOD, limits=GOOD.limits | {"nofile": 1024}), Row.yellow(
            "machine.nofile", "1,024: sockets of ranks, shards and shared memory are open files", NOFILE)),
        (replace(GOOD, limits=GOOD.limits | {"nproc": 4095}), Row.yellow(
            "machine.nproc", "4,095: every rank starts dozens of threads, and they count", NOFILE.replace("-n", "-u"))),
        (replace(GOOD, limits=GOOD.limits | {"memlock": 8 << 20}), Row.red(
            "machine.memlock", "8.0 MiB: NCCL cannot register memory with InfiniBand",
            "ulimit -l unlimited; under Slurm LimitMEMLOCK=infinity for slurmd")),
        (replace(GOOD, limits=GOOD.limits | {"memlock": 8 << 20}, infiniband=False),
         Row.grey("machine.memlock", "not applicable: no InfiniBand")),
        (replace(GOOD, memory=15 * GIB), Row.yellow(
            "machine.memory", "15.0 GiB available; 8 ranks take 16.0 GiB before a model",
            "lower parallel.ranks, or end what else runs here")),
        (replace(GOOD, cpus=1), Row.yellow("machine.cpus", "1 cores for 8 ranks",
                                           "lower parallel.ranks, or ask Slurm for --cpus-per-task")),
        (replace(GOOD, leftovers=(Leftover("psm_1", 3 << 20), Leftover("nccl-2", 1 << 20))), Row.yellow(
            "machine.leftovers", "2 files of shared memory, 4.0 MiB, that no process seen here holds",
            "rm /dev/shm/psm_1 /dev/shm/nccl-2")),
    ],
)  # fmt: skip
def test_one_thing_is_wrong(system: System, expected: Row) -> None:
    assert row(expected.name.removeprefix("machine."), system) == expected
    wrong = [found for found in machine.check(system, 8) if found.status is not Status.GREEN]
    assert wrong == [expected]


def test_leftovers_are_ours_old_and_held_by_nobody(tmp_path: Path) -> None:
    for name in ("psm_dead", "torch_held", "psm_young", "my-data"):
        (tmp_path / name).write_bytes(b"12345")
        if name != "psm_young":
            os.utime(tmp_path / name, (1, 1))
    assert list(look.leftovers(tmp_path, {"torch_held"})) == [Leftover("psm_dead", 5)]


def test_shared_memory_that_lives_is_seen_as_held() -> None:
    memory = SharedMemory(create=True, size=4096)
    try:
        assert memory.name in look.held_files()
    finally:
        memory.close()
        memory.unlink()
    assert memory.name not in look.held_files()


def test_memory_that_a_job_or_container_allows(tmp_path: Path) -> None:
    for name, text in (("slurm/memory.max", "9000"), ("slurm/job_7/memory.max", "max"),
                       ("memory/slurm/job_7/memory.limit_in_bytes", "7000")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert look.group_memory(tmp_path, "0::/slurm/job_7\n") == 9000
    assert look.group_memory(tmp_path, "4:cpu,cpuacct:/slurm\n3:memory:/slurm/job_7\n0::/\n") == 7000
    assert look.group_memory(tmp_path, "0::/other\n") == sys.maxsize
    assert look.group_memory(tmp_path, "") == sys.maxsize


def test_what_slurm_says() -> None:
    assert look.slurm({}) == Slurm()
    said = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "16", "SLURM_GPUS_ON_NODE": "8"}
    assert look.slurm(said) == Slurm("7", 16, 8)


def test_this_node_can_be_looked_at() -> None:
    seen = look.system()
    assert seen.cpus >= 1
    assert seen.memory > 0
    assert set(seen.limits) == {"nofile", "nproc", "memlock"}
    assert "lo" in seen.interfaces
    assert look.available_memory("MemTotal: 9 kB\nMemAvailable:    2 kB\n") == 2048
    assert look.available_memory("") == 0
