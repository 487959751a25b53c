"""What runs in the processes of the tests of the swap by bucket: real policies in many layouts, real engines."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pivot.rollout import Sampling, prepare_environment

prepare_environment()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot import ranks  # noqa: E402
from pivot.layout import Layout  # noqa: E402
from pivot.policy import Policy, initialize  # noqa: E402
from pivot.region import Region  # noqa: E402
from pivot.rollout import Engine  # noqa: E402
from pivot.swap import (  # noqa: E402
    BucketSwap,
    EngineShape,
    Manifest,
    SwapError,
    SwapSettings,
    SwapStats,
    blame,
    open_swap,
    probe,
)
from tests.parity.swap_workers import CONTEXT, GREEDY, prompts  # noqa: E402

SMALL = SwapSettings(bucket_bytes=64 << 10, per_node=8)  # many buckets, and tensors in several


@torch.no_grad()
def move(policy: Policy, step: int) -> None:
    """An update of every weight, as large as a reckless optimizer's, the same where a weight is held twice."""
    done = set()
    for name, region, view in policy.shards() or ():
        if view.data_ptr() in done:  # a tied head on the embedding's stage
            continue
        done.add(view.data_ptr())
        generator = torch.Generator().manual_seed(zlib.crc32(f"{name} {region} {step}".encode()))
        view.add_(0.02 * torch.randn(view.shape, generator=generator).to(view.dtype))


class Kept:
    """An engine that keeps what it is given."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}
        self.version = ""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        self.weights = {name: tensor.clone() for name, tensor in weights}
        self.version = version


def engines(path: Path, scratch: Path, layouts: list[Layout]) -> list[dict[str, Any]]:
    """For every layout: three updates, a swap after each, against a fresh engine of the exported checkpoint."""
    initialize(layouts[0], seed=1)
    engine, found, asked = Engine(path, max_model_len=CONTEXT, load_weights=False), [], prompts(6)
    for number, layout in enumerate(layouts):
        initialize(layout, seed=1)
        policy = Policy.from_hf(path, layout, optimizer=None)
        swap = open_swap(policy, Manifest.from_checkpoint(path), SMALL)
        for step in range(3):
            move(policy, step)
            stats = swap.push(engine, f"{number}.{step}")
        checked = probe(policy, engine, asked)
        drawn = engine.sample(asked, [0] * 6, 1, GREEDY)
        scores = engine.score(asked)
        exported = scratch / str(number)
        policy.save_hf(exported, path)
        with Engine(exported, max_model_len=CONTEXT) as fresh:
            found.append(
                {
                    "stats": stats,
                    "buckets": len(swap.plan.buckets),
                    "probe": checked,
                    "tokens": [c.token_ids for group in drawn for c in group],
                    "versions": {c.weight_version for group in drawn for c in group},
                    "fresh tokens": [c.token_ids for group in fresh.sample(asked, [0] * 6, 1, GREEDY) for c in group],
                    "gap": max(
                        abs(a - b)
                        for one, two in zip(scores, fresh.score(asked), strict=True)
                        for a, b in zip(one, two, strict=True)
                    ),
                }
            )
    engine.close()
    return found


def delivered(path: Path, layouts: list[tuple[Layout, EngineShape]], settings: SwapSettings) -> list[dict[str, Any]]:
    """For every pair of layouts: what arrives at this rank, against what the policy exports by gathering."""
    found = []
    for layout, engine in layouts:
        initialize(layout, seed=1)
        policy = Policy.from_hf(path, layout, optimizer=None)
        place = ranks.rank() % engine.tensor
        swap = BucketSwap(policy, Manifest.from_checkpoint(path), engine, place, settings)
        move(policy, 0)
        sink = Kept()
        stats = swap.push(sink, "1")
        needed = swap.plan.needs
        wrong, extra = [], [name for name in sink.weights if name not in needed]
        for name, full in policy.hf_weights():
            if name in needed:
                want = swap.expected(name, full)
                got = sink.weights[name]
                if got.shape != full.shape or not torch.equal(got[needed[name].slices], want):
                    wrong.append(name)
        found.append({"wrong": wrong, "extra": extra, "stats": stats, "needed": len(needed), "buckets": len(swap.plan.buckets)})
    return found
