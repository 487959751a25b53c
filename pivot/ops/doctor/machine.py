"""The operating system's side: shared memory, limits, host memory, what dead runs left."""

from collections.abc import Mapping
from dataclasses import dataclass

from pivot.ops.doctor.facts import Leftover, System
from pivot.ops.doctor.row import Row

DOCKER_DEFAULT = 64 << 20  # bytes of /dev/shm in a container that was not given more: too few for NCCL
SHARED_PER_RANK = 1 << 30  # bytes that are plenty
MEMORY_PER_RANK = 2 << 30  # bytes: libraries, and a small model; measured 2 GB a rank in the demo


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of the shell: below `least` it breaks, below `good` it may."""

    name: str
    flag: str
    least: int
    good: int
    why: str


LIMITS = (
    Limit("nofile", "-n", 1024, 4096, "sockets of ranks, shards and shared memory are open files"),
    Limit("nproc", "-u", 1024, 4096, "every rank starts dozens of threads, and they count"),
)


def check(system: System, ranks: int) -> list[Row]:
    """Judge this node for `ranks` ranks."""
    return [
        check_shared(system.shared_total, system.shared_free, ranks),
        *(check_limit(limit, system.limits) for limit in LIMITS),
        check_memlock(system),
        check_memory(system.memory, ranks),
        check_cpus(system.cpus, ranks),
        check_leftovers(system.leftovers),
    ]


def check_shared(total: int | None, free: int, ranks: int) -> Row:
    """Room in /dev/shm, through which ranks of a node talk."""
    name, more = (
        "machine.shared-memory",
        "docker: --shm-size=16g or --ipc=host; else mount -o remount,size=16G /dev/shm",
    )
    if total is None:
        return Row.red(name, "there is no /dev/shm: ranks of a node cannot talk", "mount a tmpfs there")
    if total <= DOCKER_DEFAULT or free <= DOCKER_DEFAULT:
        return Row.red(name, f"{size(free)} free of {size(total)} in /dev/shm", more)
    if free < ranks * SHARED_PER_RANK:
        return Row.yellow(name, f"{size(free)} free of {size(total)} in /dev/shm for {ranks} ranks", more)
    return Row.green(name, f"{size(free)} free of {size(total)}")


def check_limit(limit: Limit, limits: Mapping[str, int | None]) -> Row:
    """One limit of the shell."""
    name, found = f"machine.{limit.name}", limits[limit.name]
    fix = f"ulimit {limit.flag} 65536 before the start, or raise it in limits.conf (Slurm: PropagateResourceLimits)"
    if found is None or found >= limit.good:
        return Row.green(name, "unlimited" if found is None else f"{found:,}")
    judge = Row.red if found < limit.least else Row.yellow
    return judge(name, f"{found:,}: {limit.why}", fix)


def check_memlock(system: System) -> Row:
    """Locked memory matters to InfiniBand only."""
    name, found = "machine.memlock", system.limits["memlock"]
    if not system.infiniband:
        return Row.grey(name, "not applicable: no InfiniBand")
    if found is not None:
        return Row.red(name, f"{size(found)}: NCCL cannot register memory with InfiniBand",
                       "ulimit -l unlimited; under Slurm LimitMEMLOCK=infinity for slurmd")  # fmt: skip
    return Row.green(name, "unlimited")


def check_memory(available: int, ranks: int) -> Row:
    """Host memory for the ranks' libraries; what models need is for `pivot plan`."""
    name, wanted = "machine.memory", ranks * MEMORY_PER_RANK
    if available < wanted:
        return Row.yellow(name, f"{size(available)} available; {ranks} ranks take {size(wanted)} before a model",
                          "lower parallel.ranks, or end what else runs here")  # fmt: skip
    return Row.green(name, f"{size(available)} available")


def check_cpus(cpus: int, ranks: int) -> Row:
    """A core a rank."""
    if cpus < ranks:
        return Row.yellow("machine.cpus", f"{cpus} cores for {ranks} ranks",
                          "lower parallel.ranks, or ask Slurm for --cpus-per-task")  # fmt: skip
    return Row.green("machine.cpus", str(cpus))


def check_leftovers(leftovers: tuple[Leftover, ...]) -> Row:
    """Shared memory that no process holds any more."""
    name = "machine.leftovers"
    if not leftovers:
        return Row.green(name, "no shared memory of dead runs")
    names = " ".join(f"/dev/shm/{left.name}" for left in leftovers[:4])
    held = f"{len(leftovers)} files of shared memory, {size(sum(left.size for left in leftovers))}"
    fix = f"rm {names}{' …' if len(leftovers) > 4 else ''}"
    return Row.yellow(name, f"{held}, that no process seen here holds", fix)


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
