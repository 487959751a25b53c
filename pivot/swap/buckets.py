"""The swap by bucket: planned once by all ranks together, then done after every update."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pivot import ranks
from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.held import Held
from pivot.swap.keep import WireSettings
from pivot.swap.manifest import Manifest, Shape
from pivot.swap.needs import EngineShape
from pivot.swap.parts import choose_wires, holders_of, needs_of
from pivot.swap.plan import Plan, make_plan
from pivot.swap.push import SwapStats, WeightSink
from pivot.swap.transfer import Buffers, Transfer


class ShardSource(Protocol):
    """What a swap by bucket needs of a policy."""

    def shards(self) -> Iterator[tuple[str, Region, Tensor]] | None:
        """This rank's part of every tensor: views that follow the policy's updates."""


AS_THEY_ARE = WireSettings()


@dataclass(frozen=True, slots=True)
class SwapSettings:
    """How to swap.

    Attributes:
        bucket_bytes: Most bytes that a rank sends, and that it receives, in one exchange.
        wire: Which tensors go over in FP8.
        verify: Share of the tensors whose fingerprints are compared, others at each version.
        per_node: Ranks that share a node: they are asked before others.
    """

    bucket_bytes: int = 256 << 20
    wire: WireSettings = AS_THEY_ARE
    verify: float = 1.0
    per_node: int = 1


class BucketSwap:
    """Brings every engine rank what it needs of the policy's shards; no rank gathers the model.

    Attributes:
        plan: This rank's part of every swap.
    """

    def __init__(
        self, policy: ShardSource, manifest: Manifest, engine: EngineShape, engine_rank: int, settings: SwapSettings
    ) -> None:
        """Collective: ranks tell each other what they hold and what they need, and plan.

        Args:
            policy: Source of the weights.
            manifest: What a complete set is.
            engine: How the engine of this rank is cut.
            engine_rank: This rank's place in it.
            settings: Buckets, wire format, checks.

        Raises:
            SwapError: on every rank, where the policy holds other tensors than the manifest has, nobody holds a part
                that some engine needs, or ranks have planned differently.
        """
        self._policy, self._manifest, self._settings = policy, manifest, settings
        held = _held(policy)
        self._planned = held.holding()
        agree(held.misfit(manifest.shapes))
        everyone = ranks.gather([(self._planned, (engine, engine_rank))])
        holders = holders_of([holding for holding, _ in everyone])
        asked = needs_of(manifest.shapes, [place for _, place in everyone])
        dtypes = {name: dtype for holding, _ in everyone for name, (_, dtype) in holding.items()}
        agree(_absent(manifest.shapes, dtypes))
        wires = choose_wires(manifest.shapes, dtypes, holders, asked, settings.wire)
        self.plan: Plan = make_plan(
            manifest.shapes,
            holders,
            asked,
            wires,
            rank=ranks.rank(),
            world=ranks.size(),
            bucket_bytes=settings.bucket_bytes,
            per_node=settings.per_node,
        )
        digests = ranks.gather([f"{self.plan.digest} {manifest.digest} {settings.verify}"])
        if len(set(digests)) > 1:
            raise SwapError(f"ranks have planned differently: {', '.join(digests)}; give all of them the same settings")
        self._buffers = Buffers(self.plan, held.device)

    def push(self, engine: WeightSink, version: str) -> SwapStats:
        """The policy's weights of this moment into this rank's engine; collective.

        Args:
            engine: This rank's engine.
            version: Stamped on every completion drawn with these weights; the same on every rank.

        Raises:
            SwapError: on every rank, when any found something missing, unexpected, changed on its way or of another
                version, by tensor and part. Engines are then half-updated and refuse to be used.
        """
        started = time.perf_counter()
        held = _held(self._policy)
        agree(held.differs(self._planned))
        transfer = Transfer(
            self.plan, self._manifest.shapes, held, self._buffers, version=version, verified=self._settings.verify
        )
        with transfer:
            engine.update_weights(transfer, version)
        seconds = time.perf_counter() - started
        phases = transfer.clock.take()
        return SwapStats(
            seconds=seconds,
            bytes=transfer.bytes,
            tensors=transfer.tensors,
            sent=self.plan.sent,
            received=self.plan.received,
            plain=self.plan.plain,
            late=sum(wire.late is not None for wire in self.plan.wires.values()),
            checks=transfer.checks,
            extra_bytes=self._buffers.nbytes + transfer.largest,
            phases=phases | {"engine": seconds - sum(phases.values())},
        )

    def delivered(self) -> Iterator[tuple[str, Tensor]]:
        """What this rank's engine would be given now, of every tensor what it needs; collective."""
        held = _held(self._policy)
        with Transfer(self.plan, self._manifest.shapes, held, self._buffers, version="", verified=0.0) as transfer:
            for name, tensor in transfer:
                if name in self.plan.needs:  # and not the scales of one
                    yield name, tensor[self.plan.needs[name].slices]

    def expected(self, name: str, full: Tensor) -> Tensor | None:
        """What should be delivered of a full tensor; None: nothing."""
        if name not in self.plan.needs:
            return None
        wire = self.plan.wires[name]
        return wire.load(wire.encode(full))[0][self.plan.needs[name].slices]


def agree(problem: str | None) -> None:
    """Raises SwapError on every rank when one has a problem: else the others would wait for it for ever."""
    found = ranks.gather([f"rank {ranks.rank()}: {problem}"] if problem else [])
    if found:
        raise SwapError("; ".join(found[:8]))


def _held(policy: ShardSource) -> Held:
    shards = policy.shards()
    if shards is None:
        raise ValueError("this policy's family says only what full tensors are: use push")
    return Held(shards)


def _absent(shapes: Mapping[str, Shape], dtypes: Mapping[str, torch.dtype]) -> str | None:
    absent = [name for name in shapes if name not in dtypes]
    if not absent:
        return None
    return f"{len(absent)} of {len(shapes)} tensors are missing: {', '.join(absent[:8])}"
