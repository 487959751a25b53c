"""What probes found out about this node. Plain values, so that checks can be fed with any machine."""

from collections.abc import Mapping
from dataclasses import dataclass

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Import:
    """How a library did in a process of its own.

    Attributes:
        name: of the probe.
        seconds: it took.
        problem: the last line of what it said when it failed; None: it can be imported.
        said: what it found out.
    """

    name: str
    seconds: float
    problem: str | None = None
    said: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Accelerators:
    """CUDA as torch sees it.

    Attributes:
        cuda: version that torch was built for; None: a build without CUDA.
        names: of the devices that this process may use.
        capabilities: compute capability of each.
        compiled: architectures that torch has code for, as "sm_90".
        nccl: its version, or None.
        engine: version of Transformer Engine, or None.
        present: how many NVIDIA devices the system has, whatever torch can use.
    """

    cuda: Version | None = None
    names: tuple[str, ...] = ()
    capabilities: tuple[Version, ...] = ()
    compiled: tuple[str, ...] = ()
    nccl: str | None = None
    engine: Version | None = None
    present: int = 0


@dataclass(frozen=True, slots=True)
class Slurm:
    """The allocation; None for what Slurm does not say.

    Attributes:
        job: its id.
        nodes: in it.
        gpus: of this node.
    """

    job: str | None = None
    nodes: int = 1
    gpus: int | None = None


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file in shared memory that no living process holds."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class System:
    """The operating system's side.

    Attributes:
        cpus: that this process may use.
        memory: bytes that are available.
        shared_total: bytes of /dev/shm; None: there is none.
        shared_free: bytes left in it.
        limits: soft limit by name (nofile, nproc, memlock); None: unlimited.
        infiniband: whether there are InfiniBand devices.
        interfaces: names of the network's.
        leftovers: shared memory of dead processes.
    """

    cpus: int
    memory: int
    shared_total: int | None
    shared_free: int
    limits: Mapping[str, int | None]
    infiniband: bool = False
    interfaces: tuple[str, ...] = ("lo",)
    leftovers: tuple[Leftover, ...] = ()


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory that was written to.

    Attributes:
        directory: the run directory, or the nearest one above it that exists.
        kind: of its file system, as "nfs4".
        problem: why it cannot be written, or None.
        free: bytes that a user may still write.
        speed: bytes a second, written and fsynced.
        skew: seconds that the file system's clock is ahead of this node's.
    """

    directory: str
    kind: str
    problem: str | None = None
    free: int = 0
    speed: float = 0.0
    skew: float = 0.0
