"""What runs on ranks for the tests of router replay: the same groups with several kinds of routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from pivot.layout import Layout
from pivot.policy import OptimizerSettings, PackedGroup, Policy, data_parallel_rank, data_parallel_size, initialize
from tests.parity.prefix_workers import measure

Groups = list[tuple[Tensor, tuple[Tensor, ...], Tensor | None]]
"""(history, actions, routes of the pack's rows)."""


def replays(
    path: Path, ways: dict[str, list[Groups]], copied: str, cases: list[tuple[Layout, dict[str, Any]]]
) -> list[dict[str, dict[str, Any]]]:
    """`measure` of each way in each layout; the way called ``copied`` also with a history for each action."""
    results = []
    for layout, options in cases:
        initialize(layout, seed=5)
        policy = Policy.from_hf(
            path, layout, optimizer=OptimizerSettings(), **{"freeze_router": False, "router_replay": True, **options}
        )
        found: dict[str, dict[str, Any]] = {}
        for name, micro in ways.items():
            mine = list(range(data_parallel_rank(), len(micro), data_parallel_size()))
            batches = [[PackedGroup(*group) for group in micro[i]] for i in mine]
            found[name] = measure(policy, batches, mine, len(micro))
            if name == copied:
                apart = [[one for group in batch for one in group.replicated()] for batch in batches]
                found["replicated"] = measure(policy, apart, mine, len(micro))
        results.append(found)
    return results
