"""What runs in the processes of the fault tests: swaps in which one thing goes wrong, and who notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from pivot import ranks
from pivot.layout import Layout
from pivot.policy import Policy, initialize
from pivot.region import Region
from pivot.rollout import Engine
from pivot.swap import BucketSwap, EngineShape, Manifest, SwapError, SwapSettings, blame, check_versions, marks, probe
from pivot.swap.assembly import Assembly
from pivot.swap.formats import FORMATS
from pivot.swap.keep import WireSettings
from pivot.swap.plan import Copy
from pivot.swap.transfer import Transfer
from pivot.swap.wire import Wire
from tests.parity.bucket_workers import Kept, move
from tests.parity.swap_workers import CONTEXT, GREEDY, message, prompts

EXPERT = "model.layers.1.mlp.experts.{}.gate_proj.weight"
LIMIT = 1e-3
Shard = tuple[str, Region, Tensor]
Planes = tuple[tuple[Tensor, ...], int]


class Changed:
    """A policy whose shards are changed before the swap sees them."""

    def __init__(self, policy: Policy, change: Callable[[Iterator[Shard]], Iterator[Shard]]) -> None:
        self.policy, self.change = policy, change
        self.hf_config = policy.hf_config

    def shards(self) -> Iterator[Shard]:
        return self.change(self.policy.shards() or iter(()))


def exchanged(shards: Iterator[Shard]) -> Iterator[Shard]:
    """The first expert of this rank goes by the second's name and the other way round."""
    mine = 4 * ranks.rank()
    names = {EXPERT.format(mine): EXPERT.format(mine + 1), EXPERT.format(mine + 1): EXPERT.format(mine)}
    return ((names.get(name, name), region, tensor) for name, region, tensor in shards)


def transposed(shards: Iterator[Shard]) -> Iterator[Shard]:
    """A square matrix is read the wrong way; its shape does not show it."""
    for name, region, tensor in shards:
        square = name == EXPERT.format(4 * ranks.rank())
        yield name, region, tensor.t() if square else tensor


def misshapen(shards: Iterator[Shard]) -> Iterator[Shard]:
    for name, region, tensor in shards:
        yield name, region, tensor.t() if name.endswith("layers.0.self_attn.o_proj.weight") else tensor


def without(name: str) -> Callable[[Iterator[Shard]], Iterator[Shard]]:
    return lambda shards: (shard for shard in shards if shard[0] != name)


def faults(path: Path) -> list[tuple[str, str, str]]:
    """(fault, what noticed it by design, message) of this rank, on two ranks with the experts split over both."""
    layout = Layout(expert=2)
    initialize(layout, seed=1)
    policy, manifest = Policy.from_hf(path, layout, optimizer=None), Manifest.from_checkpoint(path)
    found = [
        *_of_the_source(policy, manifest),
        *_on_the_way(policy, manifest),
        *_of_scales(policy, manifest),
        *_of_samples(policy, manifest, path),
    ]
    layout = Layout(tensor=2)
    initialize(layout, seed=1)
    return found + _of_tensor_ranks(Policy.from_hf(path, layout, optimizer=None), manifest)


def _of_the_source(policy: Policy, manifest: Manifest) -> list[tuple[str, str, str]]:
    """The policy does not hold what it should, or not in the right shape."""
    lost = without(EXPERT.format(5))  # of rank 1

    def planned(change: Any) -> Callable[[], Any]:
        return lambda: BucketSwap(Changed(policy, change), manifest, EngineShape(), 0, SwapSettings())

    source = Changed(policy, lambda shards: shards)
    swap = BucketSwap(source, manifest, EngineShape(), 0, SwapSettings())
    source.change = lost
    return [
        ("one expert not in the policy", "plan", message(planned(lost))),
        ("one expert gone after planning", "plan", message(lambda: swap.push(Kept(), "1"))),
        ("a matrix transposed, not square", "plan", message(planned(misshapen))),
    ]


def _on_the_way(policy: Policy, manifest: Manifest) -> list[tuple[str, str, str]]:
    """Something happens to a bucket."""
    swap = BucketSwap(policy, manifest, EngineShape(), 0, SwapSettings(bucket_bytes=64 << 10))
    sink = Kept()
    swap.push(sink, "good")
    original, exchange, put = Transfer._encoded, dist.all_to_all_single, Assembly.put

    def skipping(self: Transfer, copy: Copy, *, sent: bool) -> Planes:
        planes, mark = original(self, copy, sent=sent)
        return planes, 0 if copy.name == EXPERT.format(5) else mark

    def corrupting(receive: Tensor, *rest: Any) -> None:
        exchange(receive, *rest)
        if ranks.rank() == 0 and receive.numel() > 5000:
            receive[5000] ^= 1

    def turning(self: Assembly, region: Region, planes: tuple[Tensor, ...], mark: int | None) -> None:
        put(self, region, (planes[0].t(),) if self.name == EXPERT.format(5) else planes, mark)

    found = []
    for fault, guard, where, name, fake in (
        ("one expert not sent", "coverage", Transfer, "_encoded", skipping),
        ("a byte of a bucket changed", "fingerprint", dist, "all_to_all_single", corrupting),
        ("a square matrix transposed on arrival", "fingerprint", Assembly, "put", turning),
    ):
        kept = getattr(where, name)
        setattr(where, name, fake)
        found.append((fault, guard, message(lambda: swap.push(sink, "bad"))))
        setattr(where, name, kept)
    late = "old" if ranks.rank() == 1 else "new"
    found.append(("a rank sends an older version", "version", message(lambda: swap.push(sink, late))))
    assert sink.version == "good"
    swap.push(sink, "good again")
    return found


def _of_scales(policy: Policy, manifest: Manifest) -> list[tuple[str, str, str]]:
    """An FP8 scale is twice what it should be, at its owner or on the way."""
    settings = SwapSettings(wire=WireSettings(FORMATS["block"]))
    swap = BucketSwap(policy, manifest, EngineShape(), 0, settings)
    swap.push(Kept(), "good")
    encode, encoded = Wire.encode, Transfer._encoded

    def wrong(self: Wire, part: Tensor) -> tuple[Tensor, ...]:
        planes = encode(self, part)
        return (planes[0], 2 * planes[1]) if len(planes) == 2 else planes

    def later(self: Transfer, copy: Copy, *, sent: bool) -> Planes:
        planes, mark = encoded(self, copy, sent=sent)
        return ((planes[0], 2 * planes[1]) if copy.name == EXPERT.format(5) and len(planes) == 2 else planes), mark

    found = []
    for fault, guard, where, name, fake in (
        ("scales twice too large, at the owner", "quantisation", Wire, "encode", wrong),
        ("a scale twice too large, on the way", "fingerprint", Transfer, "_encoded", later),
    ):
        kept = getattr(where, name)
        setattr(where, name, fake)
        found.append((fault, guard, message(lambda: swap.push(Kept(), "bad"))))
        setattr(where, name, kept)
    return found


def _of_samples(policy: Policy, manifest: Manifest, path: Path) -> list[tuple[str, str, str]]:
    """What only shows in what the engine says; and that a failed swap leaves an engine that says nothing."""
    engine, asked = Engine(path, max_model_len=CONTEXT, load_weights=False), prompts(4)
    found = []

    def probed(swap: BucketSwap) -> None:
        reason = probe(policy, engine, asked).refused(LIMIT)
        if any(ranks.gather([reason is not None])):
            raise SwapError(
                f"{reason}; {blame(policy, marks(engine.read_weights(manifest.shapes)), swap, manifest.shapes)}"
            )

    for fault, change in (
        ("two experts exchanged at the source", exchanged),
        ("a square matrix transposed at the source", transposed),
    ):
        swap = BucketSwap(Changed(policy, change), manifest, EngineShape(), 0, SwapSettings())
        swap.push(engine, "bad")
        found.append((fault, "probe", message(lambda swap=swap: probed(swap))))
    swap = BucketSwap(policy, manifest, EngineShape(), 0, SwapSettings())
    swap.push(engine, "1")
    found.append(("nothing", "none", message(lambda: probed(swap))))
    drawn = [c for group in engine.sample(asked, [0] * 4, 1, GREEDY) for c in group]
    found.append(("samples of older weights", "version", message(lambda: check_versions([drawn], "2"))))
    check_versions([drawn], "1")
    move(policy, 0)
    found.append(("a swap left out", "probe", message(lambda: probed(swap))))
    late = "3" if ranks.rank() == 1 else "2"
    message(lambda: swap.push(engine, late))
    found.append(
        ("an engine used after a swap that failed", "engine", message(lambda: engine.sample(asked, [0] * 4, 1, GREEDY)))
    )
    engine.close()
    return found


def _of_tensor_ranks(policy: Policy, manifest: Manifest) -> list[tuple[str, str, str]]:
    """A tensor rank's part does not come."""
    swap = BucketSwap(policy, manifest, EngineShape(), 0, SwapSettings())
    encoded = Transfer._encoded

    def silent(self: Transfer, copy: Copy, *, sent: bool) -> Planes:
        planes, mark = encoded(self, copy, sent=sent)
        return planes, 0 if ranks.rank() == 1 else mark

    Transfer._encoded = silent  # type: ignore[method-assign]
    found = [("a tensor rank left out", "coverage", message(lambda: swap.push(Kept(), "bad")))]
    Transfer._encoded = encoded  # type: ignore[method-assign]
    return found
