"""Predicted seconds of a training step against published ones.

python -m benchmarks.plan

The published runs are NeMo-RL's on-policy, colocated GRPO in bf16 (its performance summaries v0.4 and v0.6): their loop
is not this one. It decodes with CUDA graphs, scores every sample once more before the update, and forwards the history
with each action; a plan of it is made with that. `hardware.Device.left_out` is the geometric mean of (published /
predicted without it) over the v0.4 runs; those of v0.6 were not used. The last line is JSON.
"""

import json
import math
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pivot.layout import Layout
from pivot.ops.plan.hardware import DEVICES, GIB
from pivot.ops.plan.job import Engines, Exchange, Job, Training, Work
from pivot.ops.plan.memory import memory
from pivot.ops.plan.model import find
from pivot.ops.plan.step import step

HISTORY = 150
"""Tokens of a question of OpenMathInstruct-2, about."""


@dataclass(frozen=True, slots=True)
class Run:
    """A published run: NeMo-RL's release, and what its table says."""

    release: str
    model: str
    gpu: str
    gpus: int
    context: int
    length: int
    prompts: int
    engine: int
    layout: Layout
    seconds: float


RUNS = (
    Run("0.4", "Llama-3.1-8B-Instruct", "h100", 16, 4096, 1060, 64, 1, Layout(pipeline=2), 97.7),
    Run("0.4", "Qwen3-30B-A3B", "h100", 32, 4096, 3154, 64, 4, Layout(tensor=2, expert=8), 225),
    Run("0.4", "Qwen3-32B", "h100", 32, 4096, 3206, 64, 4, Layout(tensor=4, pipeline=4, sequence=True), 393),
    Run("0.4", "Qwen3-235B-A22B", "h100", 128, 8192, 5671, 16, 16,
        Layout(tensor=2, context=2, expert=16, pipeline=8), 506),
    Run("0.6", "Qwen3-30B-A3B", "h100", 32, 4096, 3203, 64, 2, Layout(expert=8), 192),
    Run("0.6", "Qwen3-235B-A22B", "h100", 128, 8192, 5698, 16, 16,
        Layout(tensor=2, context=2, expert=16, pipeline=8), 395),
    Run("0.6", "Qwen3-235B-A22B", "h100", 256, 8192, 5713, 16, 16,
        Layout(tensor=2, context=2, expert=16, pipeline=8), 312),
    Run("0.6", "Qwen3-235B-A22B", "gb200", 64, 8192, 5709, 16, 8,
        Layout(tensor=2, context=2, expert=16, pipeline=4), 286),
    Run("0.6", "Qwen3-235B-A22B", "gb200", 128, 8192, 5693, 16, 8,
        Layout(tensor=2, context=2, expert=16, pipeline=4), 345),
    Run("0.6", "Qwen3-30B-A3B", "gb200", 16, 4096, 3199, 64, 1, Layout(expert=16), 221),
)  # fmt: skip


def planned(run: Run) -> Job:
    """A run as it is planned: 32 samples a prompt, optimizer state spread, no probe and no start policy."""
    per_node = min(72, run.gpus) if run.gpu == "gb200" else 8  # ranks that share NVLink
    return Job(
        model=find(run.model), device=DEVICES[run.gpu], world=run.gpus, per_node=per_node, layout=run.layout,
        engines=Engines(run.engine, False, 1, 30 * GIB, 256, run.context),
        training=Training(
            2, distributed=True, budget=run.context, shared=False, scored=True,
            recompute="full" if "235B" in run.model else None,  # as their recipes have it
        ),
        work=Work(run.prompts, 32, HISTORY, run.length - HISTORY, run.context - HISTORY),
        exchange=Exchange(256 << 20, 2, 0.0), cuda_graphs=True,
    )  # fmt: skip


def predicted() -> list[tuple[Run, float]]:
    """Every run with the seconds that a plan says."""
    return [(run, step(planned(run)).total) for run in RUNS]


def fitted() -> float:
    """What `left_out` would be, from the runs of v0.4."""
    ratios = []
    for run in RUNS:
        if run.release == "0.4":
            phases = step(planned(run)).phases
            rest = sum(phases.values()) - phases["generate"] - phases["train"]
            formulas = (phases["generate"] + phases["train"]) / DEVICES[run.gpu].left_out
            ratios.append((run.seconds - rest) / formulas)
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def main() -> None:
    table = Table(
        "release", "model", "GPUs", "published s", "predicted s", "error", "generate", "train", "GiB", title="Steps"
    )
    rows = []
    for run, total in predicted():
        found = step(planned(run))
        error = total / run.seconds - 1
        used = max(memory(planned(run)).totals) / GIB
        rows.append({"release": run.release, "model": run.model, "gpus": f"{run.gpus} {run.gpu}",
                     "published": run.seconds, "predicted": round(total), "error": round(error, 3)})  # fmt: skip
        numbers = f"{run.seconds:g}", f"{total:.0f}", f"{error:+.0%}"
        parts = (f"{found.phases[name]:.0f}" for name in ("generate", "train"))
        table.add_row(run.release, run.model, f"{run.gpus} {run.gpu}", *numbers, *parts, f"{used:.0f}")
    Console(width=140).print(table)
    print(json.dumps({"left_out_of_v0.4": round(fitted(), 3), "runs": rows}))


if __name__ == "__main__":
    main()
