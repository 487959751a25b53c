"""Who sends which part of which tensor to whom, in which bucket: planned once, the same on every rank.

A tensor is a rectangle; ranks of the trainer hold rectangles of it, ranks of the engines need rectangles of it. A copy
is what one rank takes from another. A rank that needs what it holds takes it from itself; of several that hold the
same, those on the same node are preferred, and they take turns.

Tensors are planned as steps: a tensor, or some rows of one that is too large. Steps follow each other so that a module
of the engine comes in one go (vLLM keeps what it is given until a module is complete), and ranks that hold different
tensors take turns (so that all of them send all the time). A bucket is as many steps as fit: no rank sends or receives
more than the bucket's bytes.

Everything here is arithmetic. Every rank plans the whole and keeps its own copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.manifest import Shape
from pivot.swap.routes import Holders, Need, Router, Rows, ordered
from pivot.swap.wire import OVERHEAD, Wire, layout


@dataclass(frozen=True, slots=True)
class Copy:
    """A part of a tensor that this rank sends or takes.

    Attributes:
        name: The tensor.
        region: What of it.
        peer: The rank at the other end; this rank itself: it stays here and crosses no wire.
        offset: Where it lies in this rank's send or receive buffer.
        slot: Where its fingerprint lies there.
    """

    name: str
    region: Region
    peer: int
    offset: int = 0
    slot: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """What this rank sends and takes of one tensor, and whether it then has all that it needs of it."""

    name: str
    sends: tuple[Copy, ...]
    takes: tuple[Copy, ...]
    last: bool


@dataclass(frozen=True, slots=True)
class Bucket:
    """Steps that share one exchange, and the bytes that this rank sends to and receives from every rank."""

    steps: tuple[Step, ...]
    sent: tuple[int, ...]
    received: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """One rank's part of the exchange.

    Attributes:
        rank: Whose.
        buckets: In order; every rank has as many.
        needs: What this rank's engine needs of every tensor.
        wires: How every tensor goes.
        digest: Of all that was planned, for all ranks: they compare it.
    """

    rank: int
    buckets: tuple[Bucket, ...]
    needs: Mapping[str, Region]
    wires: Mapping[str, Wire]
    digest: str

    @property
    def sent(self) -> int:
        """Bytes that this rank sends over the wire."""
        return sum(sum(bucket.sent) for bucket in self.buckets)

    @property
    def received(self) -> int:
        """Bytes that this rank receives over the wire."""
        return sum(sum(bucket.received) for bucket in self.buckets)

    @property
    def plain(self) -> int:
        """Bytes that this rank would receive over the wire were nothing quantised."""
        takes = (copy for bucket in self.buckets for step in bucket.steps for copy in step.takes)
        return sum(copy.region.numel * self.wires[copy.name].dtype.itemsize for copy in takes if copy.peer != self.rank)

    @property
    def capacity(self) -> tuple[int, int]:
        """Bytes of the send and of the receive buffer."""
        return (
            max(sum(bucket.sent) for bucket in self.buckets),
            max(sum(bucket.received) for bucket in self.buckets),
        )


def make_plan(
    shapes: Mapping[str, Shape],
    holders: Holders,
    needs: tuple[Need, ...],
    wires: Mapping[str, Wire],
    *,
    rank: int,
    world: int,
    bucket_bytes: int,
    per_node: int,
) -> Plan:
    """The part of `rank` in an exchange that gives every rank what it needs.

    Args:
        shapes: Hugging Face name -> shape, of every tensor that goes over.
        holders: What which ranks hold of each.
        needs: What which ranks need of each; every rank is in exactly one.
        wires: How each goes.
        rank: Whose part to keep.
        world: Number of ranks.
        bucket_bytes: Most bytes that a rank sends, and that it receives, in one exchange.
        per_node: Ranks that share a node: neighbours.

    Raises:
        SwapError: nobody holds some part that is needed, by name and region; or buckets too small for one row.
    """
    router = Router(holders, needs, wires, world=world, per_node=per_node)
    room = bucket_bytes - world * OVERHEAD
    digest = hashlib.sha256(f"{world} {bucket_bytes} {per_node}".encode())
    buckets: list[list[tuple[str, Rows]]] = [[]]
    load = np.zeros((2, world), dtype=np.int64)
    for name in ordered(shapes, holders):
        route = router.route(name, shapes[name], room)
        digest.update(f"{name} {route.digest}".encode())
        for rows in route.steps:
            if (load + rows.load).max() > room and buckets[-1]:
                buckets.append([])
                load = np.zeros_like(load)
            load = load + rows.load
            buckets[-1].append((name, rows))
    digest.update(str([len(bucket) for bucket in buckets]).encode())
    mine = next((need.regions for need in needs if rank in need.ranks), None)
    if mine is None:
        raise SwapError(f"rank {rank} has no engine to load weights into")
    laid = tuple(_lay(bucket, wires, rank, world) for bucket in buckets)
    return Plan(rank, laid, mine, wires, digest.hexdigest())


def _lay(steps: list[tuple[str, Rows]], wires: Mapping[str, Wire], rank: int, world: int) -> Bucket:
    """A bucket of `rank`: its copies of `steps`, with their places in the buffers."""
    sends: list[list[tuple[str, Region]]] = [[] for _ in range(world)]
    takes: list[list[tuple[str, Region]]] = [[] for _ in range(world)]
    for name, rows in steps:
        for region, source, target in rows.of(rank):
            if source != target:
                (sends[target] if source == rank else takes[source]).append((name, region))
    out, sent = _segments(sends, wires)
    into, received = _segments(takes, wires)
    found = []
    for name, rows in steps:
        mine = rows.of(rank)
        given = tuple(out[name, part, target] for part, source, target in mine if source == rank != target)
        taken = [(part, source) for part, source, target in mine if target == rank]
        got = tuple(into.get((name, *hop)) or Copy(name, *hop) for hop in taken)
        found.append(Step(name, given, got, rows.last))
    return Bucket(tuple(found), sent, received)


def _segments(
    parts: list[list[tuple[str, Region]]], wires: Mapping[str, Wire]
) -> tuple[dict[tuple[str, Region, int], Copy], tuple[int, ...]]:
    """Copies by (name, region, peer), one segment a peer, and the bytes of each segment."""
    copies, sizes, start = {}, [], 0
    for peer, segment in enumerate(parts):
        end = start
        if segment:
            slots, offsets, end = layout([wires[name].nbytes(region) for name, region in segment], start)
            for (name, region), offset, slot in zip(segment, offsets, slots, strict=True):
                copies[name, region, peer] = Copy(name, region, peer, offset, slot)
        sizes.append(end - start)
        start = end
    return copies, tuple(sizes)
