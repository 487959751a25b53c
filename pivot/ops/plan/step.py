"""Seconds of a training step, by phase. Arithmetic on FLOPs and bytes; what is assumed is in `hardware`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pivot.ops.plan import engine, policy, swap
from pivot.ops.plan.hardware import REACHED
from pivot.ops.plan.job import Job
from pivot.ops.plan.model import Layer, Model

GRAPH_LAYER = 0.05e-3
"""Seconds of a decode step that a layer costs under CUDA graphs."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Multiplications and additions of one forward pass: in matrices for all, in experts, in attention."""

    dense: float
    experts: float
    attention: float


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of the mean step.

    Attributes:
        phases: by phase; what is done every so often, spread over the steps.
        idle: share of the engines that have no prompt.
    """

    phases: dict[str, float]
    idle: float

    @property
    def total(self) -> float:
        return sum(self.phases.values())


def step(job: Job) -> Step:
    """What a step takes."""
    work = job.work
    swapped = sum(swap.seconds(job).values())
    phases = {
        "generate": generate(job, work.prompts),
        "verify": REACHED.verdict * work.group * math.ceil(work.prompts / job.replicas),
        "train": train(job),
        "swap": swapped,
        "probe": probe(job) / work.probe_every if work.probe_every else 0.0,
        "memory": moves(job),
        "save": save(job) / work.save_every if work.save_every else 0.0,
        "validate": generate(job, work.validation // work.group) / work.validate_every if work.validate_every else 0.0,
    }
    idle = max(0.0, 1 - work.prompts / job.replicas)
    return Step({name: seconds for name, seconds in phases.items() if seconds}, idle)


def forward(model: Model, tokens: float, scored: float, pairs: float) -> Cost:
    """Of some tokens with so many query-key pairs between them, ``scored`` of which get logits."""
    dense = sum(layer.cut + layer.whole + layer.router for layer in model.layers)
    experts = sum(layer.active_experts for layer in model.layers)
    width = sum(layer.query for layer in model.layers)
    return Cost(2 * dense * tokens + 2 * model.vocab * model.hidden * scored, 2 * experts * tokens, 4 * width * pairs)


def group_cost(job: Job) -> Cost:
    """Of the mean group, forward."""
    work, shared = job.work, job.own and job.training.shared
    p, r, g = work.history, work.action, work.group
    pairs = p * p / 2 + g * (r * p + r * r / 2) if shared else g * (p + r) ** 2 / 2
    return forward(job.model, policy.group_tokens(job), g * r, pairs)


def train(job: Job) -> float:
    """Forward and backward passes, collectives, and the update."""
    layout, training, device, model = job.layout, job.training, job.device, job.model
    cost, groups = group_cost(job), job.work.prompts
    peak = device.fp8 if training.fp8 else device.flops
    passes = {"full": (4, 4), "selective": (3, 4)}.get(training.recompute or "", (3, 3))
    extra = training.scored + (1 / training.reference_every if training.reference_every else 0)
    linear = cost.dense / (peak * REACHED.dense) + cost.experts / (peak * REACHED.experts)
    attention = cost.attention / (device.flops * REACHED.attention)
    each = linear * (passes[0] + extra) + attention * (passes[1] + extra)
    micro = policy.micro_batches(job)
    # a data-parallel rank has whole micro-batches: the last ones may be missing on some
    units = groups * max(1, math.ceil(policy.group_tokens(job) / training.budget))
    level = math.ceil(units / job.data) * job.data / units if units < 4 * job.data else 1.0
    computed = groups * each / job.world * level
    chunks = layout.virtual_pipeline or 1
    floor = micro * device.train_layer * (1 + extra / 3) * len(model.layers) / layout.pipeline
    tokens = groups * policy.group_tokens(job) * level / job.data / layout.context
    busy = max(computed, floor) + (3 + extra) / 3 * layer_traffic(job, tokens)
    bubble = 1 + (layout.pipeline - 1) / (micro * chunks)
    return device.left_out * (busy * bubble + gradients(job) + update(job))


def layer_traffic(job: Job, tokens: float) -> float:
    """Seconds that tensor, expert and context ranks exchange activations for so many tokens of a rank, fwd and bwd."""
    layout, size, h = job.layout, job.training.itemsize, job.model.hidden
    found = 0.0
    for layer in job.model.layers:
        found += traffic(job, layer, tokens, h)
    return found * size / layout.pipeline


def traffic(job: Job, layer: Layer, tokens: float, hidden: int) -> float:
    """Of one layer: elements over bandwidth."""
    layout, device = job.layout, job.device
    near, far = device.link * REACHED.link, device.network * REACHED.link
    found = 0.0
    if layout.tensor > 1:
        blocks = bool(layer.query or layer.mamba[0]) + bool(layer.inner)  # each gathers and scatters, both ways
        found += 4 * blocks * tokens * hidden * (layout.tensor - 1) / layout.tensor / near
    if layer.count and (ranks := layout.expert * layout.expert_tensor) > 1:
        rows = tokens / job.sequence * layer.topk * REACHED.imbalance
        inside = min(1.0, job.per_node / ranks)  # of what goes to others, the share that stays in the node
        moved = 4 * rows * layer.expert_width * (ranks - 1) / ranks
        found += max(moved * inside / near, moved * (1 - inside) / far)
    if layout.context > 1 and layer.query:
        link = near if layout.context * layout.tensor <= job.per_node else far
        found += 3 * 2 * tokens * (layout.context - 1) * layer.kv / layout.tensor / link
    return found


def gradients(job: Job) -> float:
    """Summed over the ranks that hold the same parameters, in fp32."""
    parameters = policy.held(job, 0)
    found = 0.0
    for count, copies in ((parameters.dense, job.dense_copies), (parameters.experts, job.expert_copies)):
        if copies > 1 and count:
            link = job.device.link if job.world <= job.per_node else job.device.network
            found += 2 * 4 * count * (copies - 1) / copies / (link * REACHED.link)
    return found


def update(job: Job) -> float:
    """AdamW reads gradients and state and writes state and weights; what lives in host memory crosses to it."""
    parameters = policy.held(job, 0)
    state, offloaded = policy.optimizer_bytes(job, parameters)
    touched = 2 * state + 4 * parameters.total
    found = touched / (job.device.hbm * REACHED.memory)
    return found + (8 * offloaded / 12 / job.device.host if offloaded else 0.0)


def generate(job: Job, prompts: int) -> float:
    """Every engine reads the histories of its share and decodes all their actions; the slowest engine counts."""
    work, device, model, tensor = job.work, job.device, job.model, job.engines.tensor
    groups = math.ceil(prompts / job.replicas)
    peak = device.flops * tensor
    read = forward(model, groups * work.history, 0, groups * work.history**2 / 2)
    prefill = (read.dense + read.experts) / (peak * REACHED.prefill) + read.attention / (peak * REACHED.prefill)
    sequences = groups * work.group
    room = min(sequences, job.engines.sequences, engine.sequences_that_fit(job))
    longest = min(work.longest, math.ceil(REACHED.tail * work.action))
    steps = longest + (sequences / room - 1) * work.action
    return device.left_out * (prefill + steps * decode(job, sequences * work.action / steps))


def decode(job: Job, sequences: float) -> float:
    """Seconds of one decode step of so many sequences."""
    work, device, tensor = job.work, job.device, job.engines.tensor
    memory = device.hbm * REACHED.memory
    weights = sum(layer.total - layer.experts for layer in job.model.layers) + (job.model.head or job.model.embedding)
    for layer in job.model.layers:
        if layer.count:
            weights += layer.experts * (1 - (1 - layer.topk / layer.count) ** sequences)
    read = weights * job.training.itemsize / tensor / memory
    cached = sequences * engine.token_bytes(job) * (work.history + work.action / 2) / memory
    cost = forward(job.model, sequences, sequences, 0)
    computed = (cost.dense + cost.experts) / (device.flops * tensor * REACHED.prefill)
    layers = len(job.model.layers)
    fixed = layers * (GRAPH_LAYER if job.cuda_graphs else device.engine_layer) + sequences * device.engine_sequence
    fixed += 2 * layers * REACHED.collective if tensor > 1 else 0
    return max(read + cached, computed) + fixed


def probe(job: Job) -> float:
    """Some sequences, each through one data-parallel part of the policy and through one engine."""
    work, layout, device = job.work, job.layout, job.device
    sequences, tokens = max(work.probe_sequences, job.replicas), work.history + work.action
    cost = forward(job.model, tokens, tokens, tokens**2 / 2)
    one = (cost.dense + cost.experts + cost.attention) / (device.flops * REACHED.prefill)
    shared = layout.tensor * layout.pipeline * layout.context
    in_policy = math.ceil(sequences / job.data) / shared
    return one * (in_policy + math.ceil(sequences / job.replicas) / job.engines.tensor)


def moves(job: Job) -> float:
    """Policy and engine take turns on the device: each goes to host memory and comes back."""
    if not job.moves:
        return 0.0
    parameters = policy.held(job, 0)
    state, _ = policy.optimizer_bytes(job, parameters)
    weights = job.training.itemsize * parameters.total * (1 + job.training.reference)
    loaded = job.training.itemsize * engine.weight_elements(job) if job.engines.sleep == 1 else 0
    return (2 * (state + weights) + 2 * loaded) / job.device.host


def save(job: Job) -> float:
    """How long a checkpoint stops the training."""
    parameters = policy.held(job, 0)
    state, offloaded = policy.optimizer_bytes(job, written(job))
    size = job.training.itemsize * parameters.total / job.dense_copies + state + offloaded
    if job.work.save_async and job.device.host:
        return size / job.device.host + 1.0
    return size / REACHED.disk


def written(job: Job) -> policy.Held:
    """What a rank writes: copies write each parameter once between them."""
    parameters = policy.held(job, 0)
    if job.training.distributed:
        return parameters
    return replace(
        parameters,
        dense=parameters.dense // job.dense_copies,
        experts=parameters.experts // job.expert_copies,
        frozen=parameters.frozen // job.dense_copies,
    )
