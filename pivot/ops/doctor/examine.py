"""The doctor's round: probe, check, smoke. Effects are here and in the probes; checks are pure."""

import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event
from typing import Any

from pivot.config import Config
from pivot.layout import layout
from pivot.ops.doctor import devices, disk, fits, imports, known_bad, look, machine, variables, versions, weights
from pivot.ops.doctor.facts import Accelerators, Import, Slurm
from pivot.ops.doctor.row import Row, Status
from pivot.ops.doctor.show import Report
from pivot.ops.doctor.smoke import NAME as SMOKE
from pivot.ops.doctor.smoke import smoke as short_run

ROOT = Path(__file__).resolve().parents[3]
AT_ONCE = 2  # import probes; each is busy on one core


def examine(program: str, config: Config, *, smoke: bool, say: Callable[[str], None]) -> Report:
    """Examine this node.

    Args:
        program: that is to run, as "train".
        config: of it.
        smoke: whether to end with a short run of the real thing.
        say: is told what is going on.
    """
    start = time.perf_counter()
    have, slurm, system = versions.installed(), look.slurm(), look.system()
    say("importing the libraries, each in a process of its own")
    found = probe_all(program, config, have)
    seen = accelerators(found)
    cuda = seen is not None and bool(seen.names)
    here, world = ranks(config.parallel.ranks, slurm)
    rows = [
        *versions.check(have, ROOT),
        *known_bad.check(values(have, config, seen)),
        *(imports.check(one) for one in found.values()),
        *devices.check(seen, ranks=here, precision=config.precision, slurm=slurm),
        *machine.check(system, here),
        *variables.check(
            os.environ, cuda=cuda, nodes=slurm.nodes, interfaces=system.interfaces, threads=system.cpus // here,
            sharded=config.parallel.tensor > 1 or config.parallel.context > 1, path=variables.searched_first(),
        ),
    ]  # fmt: skip
    say("reading model and data, writing to the run directory")
    rows += check_inputs(program, config, world, slurm.nodes, found)
    if smoke:
        say("a short run on the real libraries")
        rows.append(check_smoke(config, rows, len(seen.names) if seen else 0))
    return Report(socket.gethostname(), program, by_area(rows), time.perf_counter() - start)


def by_area(rows: list[Row]) -> list[Row]:
    """Rows of one area together, areas in the order that they come up in."""
    areas = list(dict.fromkeys(row.area for row in rows))
    return sorted(rows, key=lambda row: areas.index(row.area))


def ranks(asked: int, slurm: Slurm) -> tuple[int, int]:
    """Ranks of this node and of the job: parallel.ranks is one machine's, where Slurm does not say otherwise."""
    here = slurm.gpus or asked
    return here, here * slurm.nodes


def probe_all(program: str, config: Config, have: Mapping[str, str]) -> dict[str, Import]:
    """All import probes, two at a time."""
    data, rollout = fits.data_file(program, config), config.rollout
    asked: dict[str, Any] = {
        "model": str(Path(config.model.path).resolve()),
        "layout": asdict(layout(config.parallel)),
        "precision": asdict(config.precision),
        "data": data[1] if data else None,
        "rows": fits.FIRST_ROWS,
        "thinking": config.prompt.thinking,
        "over_long": config.prompt.over_long,
        "tool_parser": config.prompt.tool_parser,
        "max_model_len": rollout.max_model_len,
        "max_tokens": rollout.max_tokens,
    }
    engine = "transformer-engine" in have and look.nvidia_devices() > 0  # it cannot be imported without a device
    names = [name for name in imports.LIBRARIES if name != "transformer-engine" or engine]
    stop = Event()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            return dict(zip(names, pool.map(lambda name: imports.probe(name, asked, stop=stop), names), strict=True))
        finally:  # Ctrl-C does not wait for them
            stop.set()


def accelerators(found: Mapping[str, Import]) -> Accelerators | None:
    """CUDA as torch's probe saw it; None when torch cannot be imported."""
    said = found["torch"].said
    if said is None:
        return None
    engine = found["transformer-engine"].said if "transformer-engine" in found else None
    seen = Accelerators(
        cuda=version(said["cuda"]),
        names=tuple(strings(said["names"])),
        capabilities=tuple(v for v in map(version, items(said["capabilities"])) if v),
        compiled=tuple(strings(said["compiled"])),
        nccl=str(said["nccl"]) if said["nccl"] else None,
        present=look.nvidia_devices(),
    )
    return replace(seen, engine=version(engine["engine"])) if engine else seen


def items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else []


def strings(value: object) -> Iterable[str]:
    return map(str, items(value))


def version(value: object) -> tuple[int, int] | None:
    """Major and minor of a list that JSON carried."""
    parts = [int(str(part)) for part in items(value)]
    return (parts[0], parts[1]) if len(parts) >= 2 else None


def values(have: Mapping[str, str], config: Config, seen: Accelerators | None) -> dict[str, str]:
    """What known-bad pairs are asked of."""
    found = {**have, "rollout.sleep_level": str(config.rollout.sleep_level)}
    if config.precision.fp8:
        found["precision.fp8"] = config.precision.fp8
    if seen is not None:
        found["device"] = "cuda" if seen.names else "cpu"
        if seen.cuda:
            found["cuda"] = f"{seen.cuda[0]}.{seen.cuda[1]}"
    return found | {name: os.environ[name] for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF") if
                    name in os.environ}  # fmt: skip


def check_inputs(program: str, config: Config, world: int, nodes: int, found: Mapping[str, Import]) -> list[Row]:
    """Model, data, layout and run directory."""
    rows, whole, model = weights.check(Path(config.model.path))
    rows += fits.check_model(found["policy"]) + fits.check_prompts(found["tokenizer"])
    rows += fits.check_parser(found["engine"])
    if data := fits.data_file(program, config):
        rows.append(fits.check_data(*data))
    rows += fits.check(program, config, world, model)
    directory, dtype = Path(config.run.dir), config.model.dtype
    size = disk.checkpoint_bytes(whole.parameters, dtype) if whole else None
    best = config.train.keep_best is not None
    needed = disk.needed_bytes(whole.parameters, dtype, config.train.keep_checkpoints, best) if whole else None
    rows += disk.check(
        look.disk(directory), key=f"run.dir={directory}", needed=needed, checkpoint=size, nodes=nodes,
    )  # fmt: skip
    return rows + fits.check_start(program, config, rows)


def check_smoke(config: Config, rows: Iterable[Row], devices_here: int) -> Row:
    """The short run, unless what it needs is missing already."""
    missing = [row.name for row in rows if row.name.startswith("import.") and row.status is Status.RED]
    if missing:
        return Row.grey(SMOKE, f"not run: {', '.join(missing)} failed")
    return short_run(config, devices_here)
