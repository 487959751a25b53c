"""Probes of this node that need no library: /proc, /dev/shm, limits, Slurm's variables, a file in the run directory."""

import os
import re
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pivot.ops.doctor.facts import Disk, Leftover, Slurm, System

SHARED = Path("/dev/shm")
CGROUPS = Path("/sys/fs/cgroup")
SPEED_BYTES = 64 << 20
QUIET_SECONDS = 60.0  # a file this young may be about to be opened
# What Python's multiprocessing, torch, NCCL, POSIX semaphores and vLLM's ranks call theirs (pivot/rollout/cpu.py).
OURS = re.compile(r"psm_|torch_|nccl-|sem\.|pym-|vllm|[0-9a-f]{16}-")
_LIMITS = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC, "memlock": resource.RLIMIT_MEMLOCK}


def system() -> System:
    """This node as the operating system shows it."""
    shared = os.statvfs(SHARED) if SHARED.is_dir() else None
    return System(
        cpus=len(os.sched_getaffinity(0)),
        memory=min(available_memory(Path("/proc/meminfo").read_text()), group_memory(CGROUPS, own_groups())),
        shared_total=shared.f_blocks * shared.f_frsize if shared else None,
        shared_free=shared.f_bavail * shared.f_frsize if shared else 0,
        limits={name: soft_limit(number) for name, number in _LIMITS.items()},
        infiniband=Path("/dev/infiniband").is_dir(),
        interfaces=tuple(name for _, name in socket.if_nameindex()),
        leftovers=tuple(leftovers(SHARED, held_files())),
    )


def available_memory(meminfo: str) -> int:
    """Bytes that can be had without swapping."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def own_groups() -> str:
    """The control groups that this process is in, as the kernel lists them."""
    listed = Path("/proc/self/cgroup")
    return listed.read_text() if listed.is_file() else ""


def group_memory(root: Path, groups: str) -> int:
    """Bytes that Slurm or a container allows this process; a very large number when neither limits it.

    Args:
        root: where control groups are mounted.
        groups: as `own_groups`.
    """
    limit = sys.maxsize
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if "memory" in kinds.split(","):
            top, file = root / "memory", "memory.limit_in_bytes"
        elif not kinds:
            top, file = root, "memory.max"
        else:
            continue
        own = top / path.lstrip("/")
        for directory in (own, *own.parents):
            if directory.is_relative_to(top) and (directory / file).is_file():
                said = (directory / file).read_text().strip()
                limit = min(limit, int(said) if said.isdigit() else limit)
    return limit


def soft_limit(number: int) -> int | None:
    """What holds now; None: unlimited."""
    soft, _ = resource.getrlimit(number)
    return None if soft == resource.RLIM_INFINITY else soft


def held_files() -> set[str]:
    """Names in /dev/shm that a process of this user has mapped or opened; others' processes cannot be looked into."""
    held = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            held.update(re.findall(r"/dev/shm/(\S+)", (process / "maps").read_text(errors="replace")))
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    held.add(str(handle.readlink()).removeprefix("/dev/shm/"))
    return held


def leftovers(directory: Path, held: set[str]) -> Iterator[Leftover]:
    """Files of this user with a name as our libraries give them, not young, that nobody holds."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        with suppress(FileNotFoundError):
            found = path.lstat()
            young = time.time() - found.st_mtime < QUIET_SECONDS
            if found.st_uid == os.getuid() and OURS.match(path.name) and path.name not in held and not young:
                yield Leftover(path.name, found.st_size)


def slurm(variables: Mapping[str, str] = os.environ) -> Slurm:
    """The allocation that this process is in, by its variables."""
    nodes, gpus = variables.get("SLURM_NNODES", ""), variables.get("SLURM_GPUS_ON_NODE", "")
    return Slurm(
        variables.get("SLURM_JOB_ID"), int(nodes) if nodes.isdigit() else 1, int(gpus) if gpus.isdigit() else None
    )


def nvidia_devices() -> int:
    """How many NVIDIA devices this node shows."""
    return sum(1 for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))


def disk(wanted: Path, count: int = SPEED_BYTES) -> Disk:
    """Write `count` bytes where a run would, and take them away again."""
    directory = next(path for path in (wanted, *wanted.parents) if path.is_dir()).resolve()
    kind = file_system(directory, Path("/proc/mounts").read_text())
    block = os.urandom(1 << 20)  # nothing that a file system could compress
    try:
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".pivot-doctor-") as file:
            start = time.perf_counter()
            for _ in range(count >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            seconds = time.perf_counter() - start
            before = time.time()
            file.write(b".")
            file.flush()
            os.fsync(file.fileno())
            after = time.time()
            written = os.stat(file.name).st_mtime
        room = os.statvfs(directory)
    except OSError as error:
        return Disk(str(directory), kind, problem=error.strerror or str(error))
    skew = max(written - after, 0.0) + min(written - before, 0.0)
    return Disk(str(directory), kind, None, room.f_bavail * room.f_frsize, count / max(seconds, 1e-9), skew)


def file_system(directory: Path, mounts: str) -> str:
    """The kind of the file system that holds `directory`, by the longest mount point above it."""
    kind, longest = "unknown", -1
    for line in mounts.splitlines():
        _, point, found, *_ = line.split(" ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)
        if directory.is_relative_to(point) and len(point) >= longest:
            kind, longest = found, len(point)
    return kind
