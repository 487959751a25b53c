"""A short run of the real thing: the tiny MoE in the recipe's layout, one swap, samples, one update, a checkpoint."""

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pivot.config import Config, ParallelSection, RolloutSection
from pivot.ops.doctor.imports import reason, run
from pivot.ops.doctor.row import Row

NAME = "smoke.train"
SECONDS = 300.0
CHECKPOINT = Path(__file__).resolve().parents[2] / "world" / "tiny-moe"
# What a launcher around us would tell the ranks of the smoke, which are not its ranks.
FOREIGN = re.compile(r"SLURM_|SBATCH_|PMI|OMPI_|TORCHELASTIC_|PIVOT_|(LOCAL_|GROUP_|NODE_)?(RANK|WORLD_SIZE)$|MASTER_")
_STEP = re.compile(r"step +1/1 .*grad ([\d.]+)  gap (\S+)")


def smoke(config: Config, devices: int) -> Row:
    """Run it in a directory of its own, which stays when it fails.

    Args:
        config: the recipe's.
        devices: CUDA devices of this node; 0: on the CPU.
    """
    place = Path(tempfile.mkdtemp(prefix="pivot-doctor-"))
    start = time.perf_counter()
    with ExitStack() as leaving:
        leaving.callback(shutil.rmtree, place)
        if (row := run_smoke(place, settings(config, devices), SECONDS)) is not None:
            leaving.pop_all()
            return row
    ranks = ranks_of(config.parallel, devices)
    return Row.green(NAME, f"{ranks} ranks in {time.perf_counter() - start:.0f} s: policy, swap into the engine, "
                     "samples, update, checkpoint")  # fmt: skip


def run_smoke(place: Path, changes: list[str], seconds: float) -> Row | None:
    """The commands one after the other, in `place`; a row when one fails."""
    data, trajectories = place / "data", place / "trajectories.jsonl"
    commands = [
        ["world", "trajectories", str(trajectories), "--count", "8"],
        ["convert", str(trajectories), "--out", str(data)],
        ["train", f"run.dir={place / 'run'}", f"data.pivots={data / 'candidates.jsonl'}", *changes],
    ]
    log, out = place / "log.txt", ""
    deadline = time.monotonic() + seconds
    for command in commands:
        status, out, err = run([sys.executable, "-m", "pivot.cli", *command], deadline - time.monotonic(), variables())
        with log.open("a", encoding="utf-8") as file:
            file.write(f"$ pivot {' '.join(command)}\n{out}{err}\n")
        if status != 0:
            why = f"no end after {seconds:.0f} s" if status is None else reason(status, err)
            return Row.red(NAME, f"pivot {command[0]}: {why}", f"read {log}, and the red rows above first")
    step = _STEP.search(out)
    if step is None:
        return Row.red(NAME, "pivot train ended without a step", f"read {log}")
    if float(step[1]) == 0:
        return Row.yellow(
            NAME, "the update had no gradient: no group of samples varied", f"run it again, or read {log}"
        )
    return None


def variables(own: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without what a launcher around us says of its ranks."""
    return {name: value for name, value in own.items() if not FOREIGN.match(name)}


def ranks_of(parallel: ParallelSection, devices: int) -> int:
    """Two ranks on a CPU; on a GPU node as many as the recipe wants and there are devices, an even number."""
    most = min(parallel.ranks, devices or 2)
    return most if most == 1 else most - most % 2


def scaled(parallel: ParallelSection, rollout: RolloutSection, ranks: int) -> dict[str, int | bool]:
    """The recipe's layout on few ranks and a tiny model: every size is 1 or 2, and the product at most 2."""
    room, cut = min(ranks, 2), dict[str, int | bool]()
    for name, size in (("tensor", parallel.tensor), ("pipeline", parallel.pipeline), ("context", parallel.context)):
        taken = 2 if size > 1 and room == 2 and 2 not in cut.values() else 1
        cut[f"parallel.{name}"] = taken
    free = room if cut["parallel.pipeline"] == 1 else 1
    cut["parallel.expert"] = min(parallel.expert, free)
    cut["parallel.expert_tensor"] = min(parallel.expert_tensor, free) if cut["parallel.expert"] == 1 else 1
    cut["rollout.tensor"] = min(rollout.tensor, room)
    cut["rollout.expert_parallel"] = rollout.expert_parallel and cut["rollout.tensor"] == 2
    return cut


def settings(config: Config, devices: int) -> list[str]:
    """Overrides of the smoke: the recipe's layout scaled down, and on CUDA its types; all else small."""
    ranks = ranks_of(config.parallel, devices)
    changes: dict[str, object] = {
        "model.path": CHECKPOINT,
        "parallel.ranks": ranks,
        **scaled(config.parallel, config.rollout, ranks),
        "optimizer.distributed": config.optimizer.distributed,
        "optimizer.lr": 1e-4,
        "train.shared_prefix": config.train.shared_prefix,
        "rollout.sleep_level": config.rollout.sleep_level,
        "rollout.max_model_len": 768,
        "rollout.max_tokens": 64,
        "rollout.kv_cache_mb": 64,
        "verify.name": "functional",
        "train.steps": 1,
        "train.prompts_per_step": 2 * max(ranks, 4),
        "train.group_size": 4,
        "train.kl_every": 0,
        "train.keep_best": "null",
    }
    if devices:
        fp8 = config.precision.fp8
        changes |= {"model.dtype": config.model.dtype, "precision.fp8": fp8 or "null",
                    "train.probe_limit": config.train.probe_limit,
                    "rollout.cuda_graphs": config.rollout.cuda_graphs}  # fmt: skip
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in changes.items()]
