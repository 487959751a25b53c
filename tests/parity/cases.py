"""The layouts and options that parity is shown for, and their names in the output of pytest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from pivot.layout import Layout
from pivot.policy import OptimizerSettings

RANKS = (1, 2, 4)
STEPS = 20


@dataclass(frozen=True)
class Case:
    """A layout on so many ranks, with options of ``Policy.from_hf``."""

    ranks: int
    layout: Layout
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[Layout, dict[str, Any]]:
        return self.layout, {"freeze_router": False, **self.options}

    def __str__(self) -> str:
        x = self.layout
        sizes = f"tp{x.tensor}-pp{x.pipeline}-ep{x.expert}-etp{x.expert_tensor}-vpp{x.virtual_pipeline or 1}"
        options = [
            "distributed" if isinstance(value, OptimizerSettings) else str(value).removeprefix("torch.")
            for value in self.options.values()
        ]
        return "-".join([f"{self.ranks}ranks", sizes, *(["sp"] if x.sequence else []), *options])


DISTRIBUTED = {"optimizer": OptimizerSettings(weight_decay=0.01, distributed=True)}
FULL, SELECTIVE, BF16 = {"recompute": "full"}, {"recompute": "selective"}, {"dtype": torch.bfloat16}
EXACT = [
    Case(1, Layout()),
    Case(2, Layout()),  # two data-parallel ranks
    Case(2, Layout(), DISTRIBUTED),
    Case(2, Layout(tensor=2), FULL),  # sequence parallel, as every MoE with tensor > 1
    Case(2, Layout(pipeline=2)),
    Case(2, Layout(expert=2)),
    Case(2, Layout(tensor=2, expert=2)),
    Case(2, Layout(tensor=2, expert_tensor=2)),
    Case(2, Layout(pipeline=2, virtual_pipeline=2), SELECTIVE),
    Case(4, Layout(tensor=2, pipeline=2, expert=2)),
    Case(4, Layout(tensor=2, pipeline=2, expert=2, virtual_pipeline=2), FULL),
    Case(4, Layout(tensor=2, expert=2, expert_tensor=2), SELECTIVE),
    Case(4, Layout(tensor=2, expert=2), DISTRIBUTED),
    Case(4, Layout(pipeline=4)),
    Case(4, Layout(expert=4)),
]
ROUNDED = [
    Case(1, Layout(), BF16),
    Case(2, Layout(tensor=2, expert=2), BF16),
    Case(4, Layout(tensor=2, pipeline=2, expert=2), BF16),
]

DENSE = ("llama", "llama-untied", "qwen2", "qwen3")
MOE = ("plain-topk", "mixtral", "qwen2_moe")
DENSE_CASES = [
    Case(1, Layout()),
    Case(2, Layout(tensor=2)),
    Case(2, Layout(tensor=2, sequence=True)),
    Case(2, Layout(pipeline=2)),
    Case(4, Layout(tensor=2, pipeline=2, sequence=True)),
]
MOE_CASES = [
    Case(1, Layout()),
    Case(2, Layout(tensor=2, expert_tensor=2)),
    Case(2, Layout(tensor=2, expert=2)),
    Case(2, Layout(pipeline=2)),
    Case(4, Layout(tensor=2, pipeline=2, expert=2)),
]
BY_KIND = ((DENSE, DENSE_CASES), (MOE, MOE_CASES))
FAMILIES = [(name, case) for names, cases in BY_KIND for name in names for case in cases]


def computed_for(name: str) -> list[Case]:
    """Every case of a checkpoint of conftest.py."""
    if name == "moe":
        return EXACT + ROUNDED
    return DENSE_CASES if name in DENSE else MOE_CASES


# layouts in which a model that is large for its buckets goes in and out
STREAMED = [
    Case(1, Layout()),
    Case(2, Layout(tensor=2, expert=2)),
    Case(2, Layout(tensor=2, expert_tensor=2)),
    Case(2, Layout(pipeline=2)),
    Case(4, Layout(tensor=2, pipeline=2, expert=2)),
]
