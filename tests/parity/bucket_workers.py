"""What runs in the processes of the tests of the swap by bucket: real policies in many layouts, real engines."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pivot.rollout import prepare_environment

prepare_environment()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot import ranks  # noqa: E402
from pivot.layout import Layout  # noqa: E402
from pivot.policy import Policy, initialize  # noqa: E402
from pivot.region import Region  # noqa: E402
from pivot.rollout import Engine, Placement  # noqa: E402
from pivot.swap import BucketSwap, EngineShape, Manifest, SwapSettings, open_swap  # noqa: E402
from pivot.swap.fingerprint import _weights  # noqa: E402
from pivot.swap.formats import FORMATS  # noqa: E402
from pivot.swap.keep import WireSettings  # noqa: E402
from pivot.train.probing import Replicas, expect_shared  # noqa: E402
from tests.parity.swap_workers import CONTEXT, GREEDY, prompts  # noqa: E402
from tests.parity.workers import LiveBytes  # noqa: E402

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


def engines(
    path: Path, scratch: Path, layouts: list[Layout], tensor: int = 1, expert_parallel: bool = False
) -> list[dict[str, Any]]:
    """For every layout: three updates, a swap after each, against a fresh engine of the exported checkpoint."""
    initialize(layouts[0], seed=1)
    place = Placement.of(ranks.rank(), ranks.size(), tensor=tensor, expert_parallel=expert_parallel)
    cut = place.tensor, place.expert_parallel, place.tensor_rank
    Policy.from_hf(path, layouts[0], optimizer=None)  # Megatron takes its streams before vLLM replaces them
    engine = Engine(path, placement=place, max_model_len=CONTEXT, load_weights=False)
    found, asked = [], prompts(6)
    for number, layout in enumerate(layouts):
        initialize(layout, seed=1)
        policy = Policy.from_hf(path, layout, optimizer=None)
        swap = open_swap(policy, Manifest.from_checkpoint(path), SMALL, *cut)
        for step in range(3):
            move(policy, step)
            stats = swap.push(engine, f"{number}.{step}")
        checked = expect_shared(policy, [(tokens, 1) for tokens in asked]).compare(Replicas(engine))
        drawn = engine.sample(asked, [0] * 6, 1, GREEDY)
        scores = engine.score(asked)
        exported = scratch / str(number)
        policy.save_hf(exported, path)
        with Engine(exported, placement=place, max_model_len=CONTEXT) as fresh:
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


def delivered(
    path: Path, layouts: list[tuple[Layout, EngineShape]], settings: SwapSettings = SMALL
) -> list[dict[str, Any]]:
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
        found.append(
            {"wrong": wrong, "extra": extra, "stats": stats, "needed": len(needed), "buckets": len(swap.plan.buckets)}
        )
    return found


def many(path: Path, swaps: int) -> dict[str, list[float]]:
    """A swap after another into a real engine: seconds, and resident megabytes after each."""
    initialize(Layout(expert=ranks.size()), seed=1)
    policy = Policy.from_hf(path, Layout(expert=ranks.size()), optimizer=None)
    swap = open_swap(policy, Manifest.from_checkpoint(path), SwapSettings(bucket_bytes=1 << 20))
    engine = Engine(path, max_model_len=CONTEXT, load_weights=False)
    seconds, resident = [], []
    for step in range(swaps):
        move(policy, step)
        seconds.append(swap.push(engine, str(step)).seconds)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6)
    engine.close()
    return {"seconds": seconds, "resident": resident}


def memory(path: Path, layouts: list[tuple[Layout, EngineShape]], bucket: int) -> list[dict[str, Any]]:
    """The most bytes that a swap needs beside the policy's parameters, into an engine that keeps nothing."""
    found = []
    for layout, engine in layouts:
        initialize(layout, seed=1)
        policy = Policy.from_hf(path, layout, optimizer=None)
        swap = BucketSwap(
            policy, Manifest.from_checkpoint(path), engine, ranks.rank() % engine.tensor, SwapSettings(bucket)
        )
        swap.push(Gone(), "0")  # makes the table of fingerprints
        meter = LiveBytes()
        for _, _, view in policy.shards() or ():
            meter.ignore(view)
        meter.ignore(_weights("cpu"))
        with meter:
            stats = swap.push(Gone(), "1")
        buffers = swap._buffers.nbytes
        largest = max(tensor.numel for tensor in map(Region.whole, Manifest.from_checkpoint(path).shapes.values()))
        found.append(
            {
                "most": meter.most,
                "stats": stats,
                "buffers": buffers,
                "largest": 4 * largest,
                "buckets": len(swap.plan.buckets),
            }
        )
    return found


class Gone:
    """An engine that keeps nothing of what it is given."""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        for name, tensor in weights:
            del name, tensor


def two_ranks(
    path: Path,
    scratch: Path,
    large: Path,
    layouts: list[Layout],
    pairs: list[tuple[Layout, EngineShape]],
    quantised: list[tuple[Layout, EngineShape]],
) -> dict[str, Any]:
    """All that the normal suite asks of two ranks, in one start of them."""
    from tests.parity.fault_workers import faults

    blocks = SwapSettings(1 << 20, WireSettings(FORMATS["block"]))
    return {
        "engines": engines(path, scratch, layouts),
        "delivered": delivered(path, pairs, SMALL),
        "quantised": delivered(large, quantised, blocks),
        "memory": memory(large, pairs, 256 << 10),
        "faults": faults(path),
    }


def one_rank(path: Path, scratch: Path, large: Path, swaps: int) -> dict[str, Any]:
    """All that the normal suite asks of one."""
    from tests.parity.loader_workers import loaders

    return {"engines": engines(path, scratch, [Layout()]), "many": many(large, swaps), "loaders": loaders()}
