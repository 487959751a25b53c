"""Memory of a rank in each state of the memory machine, by part, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass

from pivot.ops.plan import engine, policy, swap
from pivot.ops.plan.hardware import GIB, REACHED
from pivot.ops.plan.job import Job
from pivot.train.memory import State

GRAPHS = GIB
"""Bytes of an engine's recorded decode steps: assumed."""

STATES = (State.TRAINING, State.SWAPPING, State.GENERATING)


@dataclass(frozen=True, slots=True)
class Memory:
    """Of the fullest rank.

    Attributes:
        parts: name -> bytes in each of ``STATES``.
        capacity: bytes that a rank has.
        stage: the pipeline stage that it is of.
        host: bytes of host memory a rank, by part.
        host_capacity: bytes of host memory for each rank; 0: the device's memory is host memory.
    """

    parts: dict[str, tuple[int, int, int]]
    capacity: int
    stage: int
    host: dict[str, int]
    host_capacity: int

    @property
    def totals(self) -> tuple[int, int, int]:
        """Bytes in each of ``STATES``."""
        training, swapping, generating = zip(*self.parts.values(), strict=True)
        return sum(training), sum(swapping), sum(generating)

    @property
    def problem(self) -> str | None:
        """What does not fit, by how much; None: all fits."""
        for state, total in zip(STATES, self.totals, strict=True):
            if total > self.capacity:
                over, worst = total - self.capacity, self._largest(STATES.index(state))
                return f"out of memory by {over / GIB:.1f} GiB while {state.value} (largest: {worst})"
        if self.host_capacity and (used := sum(self.host.values())) > self.host_capacity:
            return f"out of host memory by {(used - self.host_capacity) / GIB:.1f} GiB a rank"
        return None

    def _largest(self, state: int) -> str:
        name = max(self.parts, key=lambda part: self.parts[part][state])
        return f"{name} {self.parts[name][state] / GIB:.1f} GiB"


def memory(job: Job) -> Memory:
    """Of the rank that needs most."""
    stages = range(job.layout.pipeline) if job.model.shape is None else sorted({0, job.layout.pipeline - 1})
    return max((of_stage(job, stage) for stage in stages), key=lambda found: max(found.totals))


def of_stage(job: Job, stage: int) -> Memory:
    """Of a rank of one pipeline stage."""
    parameters, passes = policy.held(job, stage), policy.activations(job, stage)
    size = job.training.itemsize
    weights = size * parameters.total
    reference = weights if job.training.reference else 0
    gradients = 4 * (parameters.total - parameters.frozen)
    state, offloaded = policy.optimizer_bytes(job, parameters)
    loaded = size * engine.weight_elements(job)
    buffers = 2 * min(job.exchange.bucket, int(swap.moved(job).received))
    quantised = 2 * parameters.total if job.training.fp8 else 0  # of FP8 weights and their transposes
    probe = passes.forward + passes.logits // 2 if job.work.probe_every else 0
    turns = job.moves
    parts = {
        "weights": (weights, weights, 0 if turns else weights),
        "start policy": (reference, reference, 0 if turns else reference),
        "FP8 weights": (quantised, quantised, quantised),
        "gradients": (gradients, 0 if turns else gradients, 0 if turns else gradients),
        "optimizer": (state, 0 if turns else state, 0 if turns else state),
        "activations": (passes.kept + passes.working, probe, 0),
        "logits": (passes.logits, 0, 0),
        "engine weights": (0 if turns else loaded, loaded, loaded),
        "KV cache": (0 if turns else job.engines.cache, 0 if turns else job.engines.cache, job.engines.cache),
        "CUDA graphs": (GRAPHS if job.cuda_graphs else 0,) * 3,  # sleep leaves them where they are
        "engine working": (0, 0, engine.working_bytes(job)),
        "swap buffers": (buffers, buffers, buffers),
        # the probe comes after the exchange, in the same state
        "swap working": (0, max(0, engine.swap_working_bytes(job) - probe), 0),
        "context": (job.device.context,) * 3,
    }
    parts = {name: sizes for name, sizes in parts.items() if any(sizes)}
    columns = zip(*parts.values(), strict=True)
    training, swapping, generating = (int(REACHED.fragments * (sum(one) - job.device.context)) for one in columns)
    parts["fragments"] = (training, swapping, generating)
    return Memory(
        parts, capacity(job), stage, host(job, weights + reference, state, offloaded, loaded), job.device.host_memory
    )


def capacity(job: Job) -> int:
    """Bytes that a rank has: of a CPU its share of the machine."""
    return job.device.memory if job.device.host else job.device.memory // job.per_node


def host(job: Job, weights: int, state: int, offloaded: int, loaded: int) -> dict[str, int]:
    """Host memory of a rank: what waits there while others have the device, and the copy that is being written."""
    if not job.device.host:
        return {}
    parts = {
        "policy away": weights + state if job.moves else 0,
        "optimizer": offloaded,
        "engine away": loaded if job.engines.sleep == 1 else 0,
        "checkpoint": weights + state + offloaded if job.work.save_every and job.work.save_async else 0,
        "processes": 4 * GIB,
    }
    return {name: size for name, size in parts.items() if size}
