"""The `cluster` section of a configuration: what `pivot launch` asks of Slurm."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# What goes into an #SBATCH line is held to these characters: no blank, quote or control character can start an option.
WORD = re.compile(r"[A-Za-z0-9_.,:@+=/|&*()\[\]-]+")
TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{1,2}){0,2}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class ClusterSection:
    """The keys of the section, with their defaults."""

    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    nodes: int = 1
    gpus_per_node: int = 8
    ranks_per_node: int | None = None
    cpus_per_task: int | None = None
    time: str = "04:00:00"
    exclusive: bool = True
    sbatch: list[str] = field(default_factory=list)
    array: int = 1
    signal_seconds: int = 600
    save_seconds: int = 480
    max_restarts: int = 100
    max_crashes: int = 3
    min_disk_gb: float = 20.0
    min_shm_gb: float = 1.0
    python: str = "python"
    venv: str | None = None
    image: str | None = None
    mounts: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def ranks_on_node(self) -> int:
        """Processes a node: as asked, else one a GPU, else one."""
        return self.ranks_per_node or self.gpus_per_node or 1

    @property
    def world(self) -> int:
        """Ranks of one job."""
        return self.nodes * self.ranks_on_node


def rules(section: ClusterSection) -> Iterator[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the section."""
    for name in ("account", "partition", "qos", "reservation", "constraint", "exclude"):
        value = getattr(section, name)
        yield (f"cluster.{name}", value, value is None or bool(WORD.fullmatch(value)),
               "null or one word without blanks and quotes")  # fmt: skip
    for option in section.sbatch:
        yield ("cluster.sbatch", option, option.startswith("--") and bool(WORD.fullmatch(option)),
               "a list of options as --name or --name=value, without blanks and quotes")  # fmt: skip
    yield "cluster.time", section.time, bool(TIME.fullmatch(section.time)), "a time of Slurm, as 04:00:00 or 1-12:00:00"
    for name, least in {
        "nodes": 1, "array": 1, "gpus_per_node": 0, "ranks_per_node": 1, "cpus_per_task": 1, "signal_seconds": 1,
        "save_seconds": 1, "max_restarts": 0, "max_crashes": 1, "min_disk_gb": 0, "min_shm_gb": 0,
    }.items():  # fmt: skip
        value = getattr(section, name)
        yield f"cluster.{name}", value, value is None or value >= least, f"at least {least}"
    yield ("cluster.save_seconds", section.save_seconds, section.save_seconds < section.signal_seconds,
           f"below cluster.signal_seconds ({section.signal_seconds}): it has to end in time")  # fmt: skip
    for name in ("python", "venv", "image"):
        value = getattr(section, name)
        yield f"cluster.{name}", value, value is None or printable(value), "one line without control characters"
    for name in ("mounts", "setup"):
        for line in getattr(section, name):
            yield f"cluster.{name}", line, printable(line), "a list of single lines"
    yield ("cluster.venv", section.venv, section.venv is None or section.image is None,
           "null with cluster.image: name the image's own Python in cluster.python")  # fmt: skip
    for name, value in section.env.items():
        yield (f"cluster.env.{name}", value, bool(VARIABLE.fullmatch(name)) and printable(value),
               "a variable's name and a single line")  # fmt: skip


def printable(text: str) -> bool:
    """Whether the text is one line that a shell script can hold."""
    return bool(text) and text.isprintable()
