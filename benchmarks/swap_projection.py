"""What a swap of Qwen3-30B-A3B would take on eight H100s, from the plan and from bandwidths that are assumed.

Nothing here was measured: the bytes and the number of copies are those of the real plan, the rest is the arithmetic of
`pivot plan` with the bandwidths that it assumes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from rich.table import Table

from benchmarks.swap_layouts import QWEN3_30B, holding, shape
from pivot.layout import Layout
from pivot.ops.plan.hardware import DEVICES, REACHED
from pivot.ops.plan.swap import Moved, phases
from pivot.policy.hf import hf_shapes
from pivot.swap.formats import FORMATS
from pivot.swap.keep import WireSettings
from pivot.swap.needs import EngineShape
from pivot.swap.parts import choose_wires, holders_of, needs_of
from pivot.swap.plan import Plan, make_plan

RANKS = 8
BUCKET = 256 << 20

PEERS = (
    ("slime, colocated, 8 GPUs: bf16 / FP8", "7 / 10"),
    ("vime, 8x H200: flattened buckets, inner loop / all", "3.0 / 21.6"),
    ("NeMo-RL, B200, MXFP8: transfer / all", "2.98 / 13.1"),
    ("NeMo-RL, disaggregated, H100: bf16 / FP8", "0.74-1.00 / 2.9-4.0"),
    ("vLLM's own reload alone, FP8", "11.8-14.1"),
)
ENGINES = {
    "8 engines of 1 rank": EngineShape(1, False, 4, 128),
    "4 engines of 2 ranks": EngineShape(2, False, 4, 128),
    "1 engine of 8 ranks, experts whole": EngineShape(8, True, 4, 128),
}


@dataclass(frozen=True)
class Projection:
    """A table to show and the same as rows."""

    table: Table
    rows: list[dict[str, Any]]


def planned(engine: EngineShape, wire: WireSettings) -> tuple[Plan, float]:
    """The plan of the last rank, and the seconds that planning took."""
    model, layout = shape(QWEN3_30B), Layout(expert=RANKS)
    shapes = hf_shapes(model)
    holders = holders_of([holding(model, layout, RANKS, rank, torch.bfloat16) for rank in range(RANKS)])
    start = time.perf_counter()
    needs = needs_of(shapes, [(engine, rank % engine.tensor) for rank in range(RANKS)])
    wires = choose_wires(shapes, dict.fromkeys(shapes, torch.bfloat16), holders, needs, wire)
    last = RANKS - 1
    plan = make_plan(shapes, holders, needs, wires, rank=last, world=RANKS, bucket_bytes=BUCKET, per_node=RANKS)
    return plan, time.perf_counter() - start


def moved(plan: Plan) -> Moved:
    """What the plan's rank does, counted."""
    steps = [step for bucket in plan.buckets for step in bucket.steps]
    own = [copy for step in steps for copy in step.takes if copy.peer == plan.rank]
    return Moved(
        sent=plan.sent,
        received=plan.received,
        local=sum(plan.wires[copy.name].dtype.itemsize * copy.region.numel for copy in own),
        loaded=sum(plan.wires[name].dtype.itemsize * region.numel for name, region in plan.needs.items()),
        sends=sum(len(step.sends) for step in steps),
        takes=sum(len(step.takes) for step in steps),
        tensors=len(plan.needs),
        buckets=len(plan.buckets),
    )


def project() -> Projection:
    """Every way to cut the engines, in bfloat16 and in FP8 blocks, beside what others report."""
    h100 = DEVICES["h100"]
    link, memory = h100.link * REACHED.link, h100.hbm * REACHED.link
    shown_phases = ("exchange", "pack", "assemble", "fingerprint", "load")
    title = "Qwen3-30B-A3B on 8 H100s, expert parallel 8: projected seconds, not measured"
    table = Table("engines", "wire", "GB a rank", "copies", "plan s", *shown_phases, "all", title=title)
    rows = []
    for name, engine in ENGINES.items():
        for form in (None, "block"):
            plan, took = planned(engine, WireSettings(FORMATS[form] if form else None))
            done = moved(plan)
            parts = phases(done, link=link, memory=memory)
            shown = {phase: round(parts[phase], 3) for phase in shown_phases} | {"all": round(sum(parts.values()), 3)}
            rows.append({"engines": name, "wire": form or "bfloat16", "gigabytes": round(plan.received / 1e9, 2),
                         "copies": int(done.takes), "plan_seconds": round(took, 2), **shown})  # fmt: skip
            table.add_row(*(str(value) for value in rows[-1].values()))
    for peer, said in PEERS:
        table.add_row(peer, *[""] * 9, said)
    return Projection(table, rows)
