"""Memory of the policy on one pipeline stage: weights, gradients, optimizer state (exact) and activations (counted)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pivot.layout import Layout
from pivot.ops.plan.hardware import REACHED
from pivot.ops.plan.job import Job
from pivot.ops.plan.model import Layer, Model

CHUNK_ROWS = 512
"""Rows whose logits exist at a time: that of `pivot.policy.logprobs`, which a test compares."""


@dataclass(frozen=True, slots=True)
class Held:
    """Parameters that a rank of a stage holds.

    Attributes:
        dense: that no expert has, with routers.
        experts: of experts.
        frozen: of ``dense``, those that are not trained.
    """

    dense: int
    experts: int
    frozen: int

    @property
    def total(self) -> int:
        return self.dense + self.experts


def stage_layers(model: Model, layout: Layout, stage: int) -> list[Layer]:
    """The layers of a pipeline stage; with interleaving, those of all its chunks."""
    chunks = layout.pipeline * (layout.virtual_pipeline or 1)
    size = math.ceil(len(model.layers) / chunks)
    parts = [model.layers[chunk * size : (chunk + 1) * size] for chunk in range(stage, chunks, layout.pipeline)]
    return [layer for part in parts for layer in part]


def held(job: Job, stage: int) -> Held:
    """What a rank of a pipeline stage holds, exactly."""
    model, layout = job.model, job.layout
    layers, last = stage_layers(model, layout, stage), stage == layout.pipeline - 1
    cut = sum(layer.cut for layer in layers)
    whole = sum(layer.whole for layer in layers)
    routers = sum(layer.router for layer in layers)
    experts = sum(layer.experts for layer in layers)
    if stage == 0:
        cut += model.embedding
    if last:
        whole += model.norm
        # a tied output matrix on another stage is a copy of the embedding
        cut += model.head or (model.embedding if stage else 0)
    dense = cut // layout.tensor + whole + routers
    frozen = routers if job.training.frozen_router else 0
    return Held(dense, experts // (layout.expert * layout.expert_tensor), frozen)


def optimizer_bytes(job: Job, parameters: Held) -> tuple[int, int]:
    """(on the device, in host memory): AdamW's two moments in fp32, and a copy of the weights where they are bf16."""
    each = 8 if job.training.itemsize == 4 else 12
    dense = each * (parameters.dense - parameters.frozen)
    experts = each * parameters.experts
    if job.training.distributed:
        dense, experts = math.ceil(dense / job.dense_copies), math.ceil(experts / job.expert_copies)
    host = int(job.training.offload * (dense + experts))
    return dense + experts - host, host


def pack_tokens(job: Job) -> int:
    """Most tokens of a micro-batch on one context-parallel rank: a history is never cut."""
    size = max(job.training.budget, job.engines.context)
    return math.ceil(size / job.layout.context)


def layer_elements(job: Job, layer: Layer, tokens: int) -> float:
    """What a layer keeps for its backward pass, in elements, by its kind: counted from what each product saves."""
    model, layout = job.model, job.layout
    h, tensor, spread = model.hidden, layout.tensor, job.sequence
    kept = 0.0
    if layer.query:
        q, kv = layer.query / tensor, layer.kv / tensor
        turned = q + kv  # queries and keys, before and after they are turned
        kept += 2 * tokens * h / spread + tokens * (q + 2 * kv + turned * (1 + model.qk_norm) + q)
        kept += 2 * tokens * kv * (layout.context - 1)  # keys and values of all context-parallel ranks
    if layer.mamba[0]:
        projected, inner = layer.mamba[0] / tensor, layer.mamba[1] / tensor
        kept += 2 * tokens * h / spread + tokens * (2 * projected + 2 * inner)
    if layer.inner:
        kept += tokens * (2 + layer.gated) * layer.inner / tensor
        kept += 0 if layer.experts else 2 * tokens * h / spread
    if layer.experts:
        rows = REACHED.imbalance * tokens / spread * layer.topk * layout.expert_tensor
        kept += 2 * tokens * h / spread + 2 * tokens / spread * layer.count
        kept += rows * (layer.expert_width + (2 + layer.gated) * layer.expert_inner / layout.expert_tensor)
        kept += tokens / spread * layer.expert_width * (layer.expert_width != h)
    return kept


@dataclass(frozen=True, slots=True)
class Activations:
    """Bytes of a forward and backward pass.

    Attributes:
        kept: between them, of all micro-batches in flight.
        working: of the layer that is computed, beside what it keeps.
        logits: of the output layer.
        forward: of a pass without gradients.
    """

    kept: int
    working: int
    logits: int
    forward: int


def activations(job: Job, stage: int) -> Activations:
    """Of the longest micro-batch, on a rank of a pipeline stage."""
    model, layout, size = job.model, job.layout, job.training.itemsize
    tokens, layers = pack_tokens(job), stage_layers(model, layout, stage)
    each = [job.device.kept * layer_elements(job, layer, tokens) for layer in layers]
    largest = max(each)
    boundary = tokens * model.hidden / job.sequence
    if job.training.recompute == "full":
        kept: float = len(layers) * boundary
    elif job.training.recompute == "selective":  # attention's output is computed again
        kept = sum(one - tokens * layer.query / layout.tensor for one, layer in zip(each, layers, strict=True))
    else:
        kept = sum(each)
    again = largest if job.training.recompute == "full" else 0
    flight: float = min(layout.pipeline - stage, micro_batches(job))
    if layout.virtual_pipeline:
        flight *= 1 + (layout.pipeline - 1) / (layout.pipeline * layout.virtual_pipeline)
    working = again + largest + keys_again(job)
    last = stage == layout.pipeline - 1
    return Activations(
        kept=int(size * kept * flight),
        working=int(size * working),
        logits=logits_bytes(job, tokens) if last else 0,
        forward=int(size * (2 * largest + keys_again(job))),
    )


def keys_again(job: Job) -> float:
    """Elements of keys and values laid out once for each action that looks at its history, and their gradients."""
    if not (job.own and job.training.shared):
        return 0.0
    work = job.work
    together = min(work.group, max(1, (job.training.budget - work.history) // work.action))
    wide = max(2 * layer.kv for layer in job.model.layers) / job.layout.tensor
    return 2 * wide * together * work.history / job.layout.context


def logits_bytes(job: Job, tokens: int) -> int:
    """The output layer: gathered hidden states, three fp32 chunks of logits, and the gradient of its matrix in fp32."""
    vocab, h = job.model.vocab // job.layout.tensor, job.model.hidden
    rows = min(CHUNK_ROWS, tokens)
    return job.training.itemsize * tokens * h + 3 * 4 * rows * vocab + (4 + job.training.itemsize) * vocab * h


def group_tokens(job: Job) -> int:
    """Input tokens of the mean group: its history once, or once for each action."""
    work = job.work
    if job.own and job.training.shared:
        return work.history + work.group * (work.action - 1)
    return work.group * (work.history + work.action - 1)


def micro_batches(job: Job) -> int:
    """Of a data-parallel rank in a step."""
    return max(1, math.ceil(job.work.prompts * group_tokens(job) / (job.data * job.training.budget)))
