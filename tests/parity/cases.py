"""The layouts and options that parity is shown for, and their names in the output of pytest.

`make test` runs a few of them, which together use every dimension and option; `make test-slow` runs the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
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


def slow_selected(request: pytest.FixtureRequest) -> bool:
    """Whether tests marked slow are among those that pytest runs."""
    return any(item.get_closest_marker("slow") for item in request.session.items)


def short_form(cases: Iterable[Any], short: Collection[Any]) -> list[Any]:
    """Arguments of ``parametrize``: those not in ``short`` are slow."""
    found = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marks = () if case in short else pytest.mark.slow
        found.append(pytest.param(*values, marks=marks, id="-".join(map(str, values))))
    return found


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
SHORT = [EXACT[i] for i in (0, 2, 3, 6, 8, 9)]
ROUNDED = [
    Case(1, Layout(), BF16),
    Case(2, Layout(tensor=2, expert=2), BF16),
    Case(4, Layout(tensor=2, pipeline=2, expert=2), BF16),
]
SHORT_ROUNDED = ROUNDED[::2]

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
FAMILIES = [
    (name, case) for names, cases in ((DENSE, DENSE_CASES), (MOE, MOE_CASES)) for name in names for case in cases
]
SHORT_FAMILIES = [(name, case) for name, case in FAMILIES if case.ranks in (1, 4)]


def computed_for(name: str, whole: bool) -> list[Case]:
    """The cases of a checkpoint of conftest.py; not ``whole``: those of the short form."""
    if name == "moe":
        return (EXACT if whole else SHORT) + (ROUNDED if whole else SHORT_ROUNDED)
    cases = DENSE_CASES if name in DENSE else MOE_CASES
    return [case for case in cases if whole or (name, case) in SHORT_FAMILIES]


def balanced_for(ranks: int, whole: bool) -> list[Layout]:
    """The layouts in which the load-balancing loss is compared."""
    return [case.layout for case in EXACT if case.ranks == ranks and not case.options and (whole or case in SHORT)]


# Layouts in which a model that is large for its buckets goes in and out
STREAMED = [
    Case(1, Layout()),
    Case(2, Layout(tensor=2, expert=2)),
    Case(2, Layout(tensor=2, expert_tensor=2)),
    Case(2, Layout(pipeline=2)),
    Case(4, Layout(tensor=2, pipeline=2, expert=2)),
]
SHORT_STREAMED = [STREAMED[0], STREAMED[2], STREAMED[4]]
