"""Environment variables that hurt: one table, and the few that have to be computed."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pivot.ops.doctor.row import Row, Status

# What a directory on the path must not bring along: import name of the libraries that runs are made of.
LIBRARIES = ("torch", "vllm", "megatron", "nemo", "lightning", "transformers", "numpy", "omegaconf", "hydra",
             "transformer_engine", "safetensors", "tokenizers")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Harm:
    """A variable and when it hurts.

    Attributes:
        name: of it.
        value: pattern that the whole value matches when it does.
        where: "any", "cpu" or "cuda" machines.
        status: how much.
        why: what it does.
        fix: instead of `unset NAME`.
    """

    name: str
    value: str
    where: str
    status: Status
    why: str
    fix: str | None = None


_ON = r"(?i)1|true|yes|on"
HARMS = (
    Harm("VLLM_CPU_KVCACHE_SPACE", r".+", "cpu", Status.YELLOW, "overrides rollout.kv_cache_mb"),
    Harm("VLLM_PLUGINS", r".+", "any", Status.YELLOW, "imports plugins of other packages, NeMo's takes 17 s a rank"),
    Harm("PYTHONHOME", r".+", "any", Status.RED, "points Python at another installation's library"),
    Harm("PYTHONOPTIMIZE", r".+", "any", Status.YELLOW, "takes out the asserts that Megatron checks its input with"),
    Harm("CUDA_LAUNCH_BLOCKING", _ON, "cuda", Status.YELLOW, "waits for every kernel: for debugging only"),
    Harm("PYTORCH_NO_CUDA_MEMORY_CACHING", _ON, "cuda", Status.YELLOW, "asks the driver for every tensor: slow"),
    Harm("TORCH_DISTRIBUTED_DEBUG", r"(?i)detail", "any", Status.YELLOW, "checks every collective: slow"),
    Harm("TORCH_NCCL_ASYNC_ERROR_HANDLING", r"0", "cuda", Status.RED, "a dead rank then hangs the others for ever"),
    Harm("NCCL_ASYNC_ERROR_HANDLING", r"0", "cuda", Status.RED, "a dead rank then hangs the others for ever"),
    Harm("TORCH_NCCL_BLOCKING_WAIT", _ON, "cuda", Status.YELLOW, "computation no longer overlaps with communication"),
    Harm("NCCL_DEBUG", r"(?i)info|trace", "cuda", Status.YELLOW, "fills the logs of every rank", "NCCL_DEBUG=WARN"),
    Harm("NCCL_P2P_DISABLE", _ON, "cuda", Status.YELLOW, "GPUs of a node then talk through host memory"),
    Harm("NCCL_SHM_DISABLE", _ON, "cuda", Status.YELLOW, "ranks of a node then talk through the network"),
    Harm("NCCL_IB_DISABLE", _ON, "cuda", Status.YELLOW, "nodes then talk over Ethernet"),
    Harm("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", _ON, "any", Status.RED, "lets torch.load run code out of a checkpoint"),
)  # fmt: skip


def check(
    variables: Mapping[str, str],
    *,
    cuda: bool,
    nodes: int,
    interfaces: Sequence[str],
    threads: int,
    sharded: bool,
    path: Sequence[str],
) -> list[Row]:
    """A row for each variable that hurts, or one green row.

    Args:
        variables: the environment.
        cuda: whether this node has CUDA devices.
        nodes: of the job.
        interfaces: of this node's network.
        threads: cores there are for each rank.
        sharded: whether tensor or context parallel ranks overlap communication (before Blackwell).
        path: directories that Python searches before its own packages.
    """
    here = "cuda" if cuda else "cpu"
    rows = []
    for harm in HARMS:
        value = variables.get(harm.name)
        if value is not None and harm.where in ("any", here) and re.fullmatch(harm.value, value.strip()):
            fix = harm.fix or f"unset {harm.name}"
            rows.append(Row(f"environment.{harm.name}", harm.status, f"{harm.name}={value}: {harm.why}", fix))
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        rows += check_interface(name, variables.get(name), nodes, interfaces)
    rows += check_threads(variables.get("OMP_NUM_THREADS"), threads)
    if cuda and sharded and variables.get("CUDA_DEVICE_MAX_CONNECTIONS") != "1":
        rows.append(Row.yellow(
            "environment.CUDA_DEVICE_MAX_CONNECTIONS",
            "not 1: before Blackwell, Megatron's tensor and context parallelism then does not overlap communication",
            "export CUDA_DEVICE_MAX_CONNECTIONS=1",
        ))  # fmt: skip
    rows += check_path(path)
    return rows or [Row.green("environment.none", "no variable that is known to hurt")]


def check_interface(name: str, value: str | None, nodes: int, interfaces: Sequence[str]) -> list[Row]:
    """A network interface that is not there, or that other nodes cannot reach."""
    if not value or value.startswith("^"):
        return []
    exact = value.startswith("=")
    wanted = [part.strip() for part in value.removeprefix("=").split(",") if part.strip()]
    # NCCL takes prefixes unless the list starts with "="; gloo takes names
    exact = exact or name.startswith("GLOO")
    here = [i for i in interfaces if any(i == part if exact else i.startswith(part) for part in wanted)]
    if not here:
        found = f"{name}={value}: this node has {', '.join(interfaces)}"
        return [Row.red(f"environment.{name}", found, f"unset {name}, or name one of them")]
    if nodes > 1 and here == ["lo"]:
        found = f"{name}={value}: the loopback interface, which other nodes cannot reach"
        return [Row.red(f"environment.{name}", found, f"unset {name}, or name the cluster's interface")]
    return []


def check_threads(value: str | None, threads: int) -> list[Row]:
    """More threads than cores: ranks slow each other down."""
    if value is None or not value.isdigit() or int(value) <= max(threads, 1):
        return []
    found = f"OMP_NUM_THREADS={value}: there are {max(threads, 1)} cores for each rank"
    return [Row.yellow("environment.OMP_NUM_THREADS", found, "export OMP_NUM_THREADS=1")]


def check_path(path: Sequence[str]) -> list[Row]:
    """Libraries that PYTHONPATH or the user's own packages put before the installed ones."""
    rows = []
    for directory in path:
        shadowed = [
            name
            for name in LIBRARIES
            if (Path(directory) / name).is_dir() or (Path(directory) / f"{name}.py").is_file()
        ]
        if shadowed:
            found = f"{directory} comes before the installed packages and has {', '.join(shadowed)}"
            rows.append(Row.red("environment.PYTHONPATH", found, "take it out of PYTHONPATH"))
    return rows


def searched_first(variables: Mapping[str, str] = os.environ) -> list[str]:
    """The directories of PYTHONPATH."""
    return [part for part in variables.get("PYTHONPATH", "").split(os.pathsep) if part]
