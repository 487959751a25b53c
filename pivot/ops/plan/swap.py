"""Seconds of a swap of weights, by phase: from bytes and copies, and bandwidths that are assumed."""

from __future__ import annotations

from dataclasses import dataclass

from pivot.ops.plan import engine
from pivot.ops.plan.hardware import REACHED
from pivot.ops.plan.job import Job


@dataclass(frozen=True, slots=True)
class Moved:
    """What one rank does in a swap.

    Attributes:
        sent: bytes that cross the wire from it.
        received: bytes that cross it to this rank.
        local: bytes that it takes from itself.
        loaded: bytes that it gives to its engine.
        sends: parts.
        takes: parts, from others and itself.
        tensors: that it gives to its engine.
        buckets: exchanges.
    """

    sent: float
    received: float
    local: float
    loaded: float
    sends: float
    takes: float
    tensors: int
    buckets: int


def phases(moved: Moved, *, link: float, memory: float, verify: float = 1.0) -> dict[str, float]:
    """Seconds by phase, without what the engine's loader does beyond one copy.

    Args:
        moved: by the rank.
        link: bytes a second that it sends while it receives as many.
        memory: bytes a second, read and written together.
        verify: share of the parts whose fingerprints are compared.
    """
    copy = REACHED.copy
    checked = 4 * (moved.sent + moved.received) / memory + 4 * copy * (moved.sends + moved.takes)
    return {
        "exchange": max(moved.sent, moved.received) / link + REACHED.exchange * moved.buckets,
        "pack": 2 * moved.sent / memory + copy * moved.sends,
        "assemble": (2 * moved.received + 2 * moved.local + moved.loaded) / memory + copy * moved.takes,
        "fingerprint": verify * checked,
        "load": 2 * moved.loaded / memory + copy * moved.tensors,
    }


def moved(job: Job) -> Moved:
    """What the mean rank moves: what its engine needs beyond what the rank holds of it.

    A rank finds all in itself where policy and engine are cut alike, else the share that falls together by chance:
    rank 1 of two holds the second half of a matrix, and as rank 1 of an engine of four needs the second quarter.
    """
    model, layout, engines = job.model, job.layout, job.engines
    needed, tensors = engine.weight_elements(job), tensors_loaded(job)
    if not job.own:  # every rank gathers every tensor, in the policy's dtype
        size = job.training.itemsize * model.total
        loaded = job.training.itemsize * needed
        every = tensors * (engines.tensor if engines.expert_parallel else 1)
        return Moved(size, size, loaded, loaded, every, every, tensors, every)
    experts = sum(layer.experts for layer in model.layers) / engines.tensor
    dense = max(0.0, needed - experts)
    cut = layout.expert, layout.expert_tensor
    alike = cut == ((engines.tensor, 1) if engines.expert_parallel else (1, engines.tensor))
    of_experts = experts / layout.pipeline / (1 if alike else layout.expert * layout.expert_tensor)
    of_dense = dense / layout.pipeline / (1 if layout.tensor == engines.tensor else layout.tensor)
    found = of_experts + of_dense
    wire = needed - found
    return Moved(
        sent=wire * job.exchange.wire,
        received=wire * job.exchange.wire,
        local=found * job.training.itemsize,
        loaded=needed * job.training.itemsize,
        sends=tensors * wire / needed,
        takes=tensors,
        tensors=tensors,
        buckets=1 + int(wire * job.exchange.wire / job.exchange.bucket),
    )


def tensors_loaded(job: Job) -> int:
    """Tensors of the checkpoint that a rank's engine is given."""
    whole = job.engines.tensor if job.engines.expert_parallel else 1
    found = 2 + bool(job.model.head)
    for layer in job.model.layers:
        found += (2 + layer.gated) * layer.count // whole + bool(layer.count) + 2
        found += (4 + 2 * job.model.qk_norm) * bool(layer.query) + (2 + layer.gated) * bool(layer.inner)
        found += 7 * bool(layer.mamba[0])
    return found


def seconds(job: Job) -> dict[str, float]:
    """By phase, with the engine's loader."""
    done = moved(job)
    link = (job.device.link if job.world <= job.per_node else job.device.network) * REACHED.link
    found = phases(done, link=link, memory=job.device.hbm * REACHED.link, verify=job.exchange.verify)
    return found | {"loader": REACHED.load * done.tensors}
