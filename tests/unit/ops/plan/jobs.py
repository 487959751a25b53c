"""Jobs to plan."""

from __future__ import annotations

from pivot.layout import Layout
from pivot.ops.plan.hardware import DEVICES, GIB
from pivot.ops.plan.job import Engines, Exchange, Job, Training, Work
from pivot.ops.plan.model import find


def qwen(world: int, layout: Layout, **training: object) -> Job:
    """Qwen3-30B-A3B in bf16 on H100s, engines of one rank."""
    return Job(
        model=find("Qwen3-30B-A3B"),
        device=DEVICES["h100"],
        world=world,
        per_node=8,
        layout=layout,
        engines=Engines(1, False, 1, 8 * GIB, 64, 8192),
        training=Training(**({"itemsize": 2, "distributed": True} | training)),  # type: ignore[arg-type]
        work=Work(prompts=64, group=16, history=2000, action=200, longest=1024),
        exchange=Exchange(256 << 20, 2, 1.0),
    )
