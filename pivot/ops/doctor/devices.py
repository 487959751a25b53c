"""CUDA devices, NCCL, Transformer Engine and FP8 by architecture; grey on a CPU."""

import os
from collections.abc import Mapping

from pivot.ops.doctor.facts import Accelerators, Slurm, Version
from pivot.ops.doctor.row import Row
from pivot.precision import RECIPES, Machine, Precision, environment, problem

ROWS = ("devices.count", "devices.architecture", "devices.nccl", "devices.transformer-engine", "devices.fp8")


def check(
    seen: Accelerators | None,
    *,
    ranks: int,
    precision: Precision,
    slurm: Slurm,
    variables: Mapping[str, str] = os.environ,
) -> list[Row]:
    """Judge this node's devices.

    Args:
        seen: what torch sees; None when torch cannot be imported.
        ranks: that are to run on this node.
        precision: what is asked of them.
        slurm: the allocation.
        variables: the environment, to which the launcher adds what the precision needs.
    """
    if seen is None:
        return [Row.grey(name, "unknown: torch cannot be imported") for name in ROWS]
    machine = Machine(
        seen.capabilities[0] if seen.capabilities else None,
        seen.cuda,
        seen.engine,
        {**variables, **environment(precision)},
    )
    return [check_count(seen, ranks, slurm), *_rest(seen), check_fp8(precision, machine)]


def check_count(seen: Accelerators, ranks: int, slurm: Slurm) -> Row:
    """As many devices as ranks, and as Slurm gave."""
    name, count = "devices.count", len(seen.names)
    if not count and seen.cuda is None and seen.present:
        return Row.red(name, f"{seen.present} NVIDIA devices, but torch is a build without CUDA",
                       "install a CUDA stack: pip install '.[cuda]' in a CUDA container")  # fmt: skip
    if not count and seen.present:
        return Row.red(name, f"{seen.present} NVIDIA devices, and torch can use none of them",
                       "see nvidia-smi (driver) and CUDA_VISIBLE_DEVICES")  # fmt: skip
    if slurm.gpus is not None and count and count != slurm.gpus:
        return Row.red(name, f"{count} devices are visible; Slurm gave this node {slurm.gpus}",
                       "exclude this node (#SBATCH --exclude) and tell its administrators")  # fmt: skip
    if not count:
        return Row.grey(name, "no CUDA device: ranks run on the CPU")
    if count < ranks:
        return Row.red(name, f"{count} devices for {ranks} ranks", f"set parallel.ranks={count}, or ask for more GPUs")
    if count > ranks:
        return Row.yellow(name, f"{count} devices for {ranks} ranks: the others idle", f"set parallel.ranks={count}")
    return Row.green(name, f"{count} x {seen.names[0]}")


def _rest(seen: Accelerators) -> list[Row]:
    if not seen.names:
        return [Row.grey(name, "not applicable: no CUDA device") for name in ROWS[1:4]]
    nccl = (
        Row.green("devices.nccl", seen.nccl)
        if seen.nccl
        else Row.red("devices.nccl", "torch was built without NCCL", "install a torch with it (any CUDA wheel has it)")
    )
    return [check_architecture(seen), nccl, check_engine(seen.engine)]


def check_architecture(seen: Accelerators) -> Row:
    """All devices of one kind, and torch has code for it."""
    name, first = "devices.architecture", seen.capabilities[0]
    if len(set(seen.capabilities)) > 1:
        kinds = ", ".join(dict.fromkeys(f"{n} ({_sm(c)})" for n, c in zip(seen.names, seen.capabilities, strict=True)))
        return Row.yellow(name, f"devices of several kinds: {kinds}", "use one kind: steps last as long as the slowest")
    # code for an older minor release of the same generation runs too
    runs = any(arch.startswith(f"sm_{first[0]}") and _number(arch) <= 10 * first[0] + first[1] for arch in
               seen.compiled)  # fmt: skip
    if seen.compiled and not runs:
        return Row.red(name, f"torch has code for {', '.join(seen.compiled)}, not for {_sm(first)}",
                       f"install a torch that was built for {_sm(first)}")  # fmt: skip
    if first < (8, 0):
        return Row.red(name, f"{_sm(first)} has no bfloat16", "use Ampere (sm_80) or newer devices")
    return Row.green(name, _sm(first))


def check_engine(version: Version | None) -> Row:
    """Layers on CUDA are Transformer Engine's, with FP8 or without."""
    name = "devices.transformer-engine"
    if version is None:
        return Row.red(name, "not importable; layers on CUDA are made of it", "pip install 'pivotrl[cuda]'")
    return Row.green(name, f"{version[0]}.{version[1]}")


def check_fp8(precision: Precision, machine: Machine) -> Row:
    """Whether the asked FP8 recipe runs here; when none is asked, which would."""
    name = "devices.fp8"
    if precision.recipe is None:
        if machine.capability is None:
            return Row.grey(name, "not applicable: precision.fp8 is null, and a CPU has none")
        fitting = [key for key in RECIPES if problem(Precision(fp8=key), _with(machine, key)) is None]
        return Row.grey(name, f"not asked for; {_sm(machine.capability)} has {', '.join(fitting) or 'none'} here")
    wrong = problem(precision, machine)
    return (
        Row.green(name, str(precision.fp8))
        if wrong is None
        else Row.mistake(name, wrong, "install it, or set precision.fp8=null")
    )


def _with(machine: Machine, recipe: str) -> Machine:
    """The machine, if the launcher set what the recipe needs."""
    return Machine(machine.capability, machine.cuda, machine.engine, RECIPES[recipe].environment)


def _sm(capability: Version) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _number(arch: str) -> int:
    digits = arch.removeprefix("sm_").rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(digits) if digits.isdigit() else 0
