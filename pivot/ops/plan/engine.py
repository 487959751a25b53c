"""Memory of the engine on one rank, as vLLM's loaders cut it, and what a swap needs beside policy and engine."""

from __future__ import annotations

from pivot.ops.plan.hardware import REACHED
from pivot.ops.plan.job import Job
from pivot.swap_options import VOCAB_PADDING

BATCHED = 8192
"""Tokens that an engine computes at once at most (vLLM's default for a GPU)."""


def weight_elements(job: Job) -> int:
    """Parameters that a rank of an engine holds: the fullest one's."""
    model, tensor = job.model, job.engines.tensor
    copies = max(1, tensor // model.groups)
    found = 0
    for layer in model.layers:
        cut = layer.cut + (copies - 1) * layer.kv_weights
        if layer.count and job.engines.expert_parallel:
            experts = layer.experts // layer.count * -(-layer.count // tensor)
        else:
            experts = layer.experts // tensor
        found += cut // tensor + layer.whole + layer.router + experts
    padded = -(-model.vocab // VOCAB_PADDING) * VOCAB_PADDING if tensor > 1 else model.vocab
    tables = 2 if model.head else 1
    return found + model.norm + tables * padded * model.hidden // tensor


def token_bytes(job: Job) -> int:
    """KV cache of one token on a rank."""
    tensor, groups = job.engines.tensor, job.model.groups
    heads = max(1, groups // tensor)
    return sum(2 * layer.kv // groups * heads for layer in job.model.layers) * job.training.itemsize


def sequence_bytes(job: Job) -> int:
    """Recurrent state of one sequence on a rank."""
    return sum(layer.state for layer in job.model.layers) // job.engines.tensor * job.training.itemsize


def working_bytes(job: Job) -> int:
    """Of a forward pass of the engine: its widest layer, and log-softmaxes of all sequences."""
    model, tensor, size = job.model, job.engines.tensor, job.training.itemsize
    tokens = min(BATCHED, job.engines.sequences * job.engines.context) if job.device.host else job.engines.context
    widest = 0.0
    for layer in model.layers:
        rows = REACHED.imbalance * layer.topk if layer.count else 0
        wide = rows * (2 * layer.expert_inner / (1 if job.engines.expert_parallel else tensor) + layer.expert_width)
        widest = max(widest, wide + 2 * layer.inner / tensor, 3 * layer.query / tensor, 3 * layer.mamba[0] / tensor)
    logits = 3 * 4 * min(job.engines.sequences, job.work.prompts * job.work.group) * model.vocab
    return int(tokens * size * (widest + 4 * model.hidden)) + logits


def swap_working_bytes(job: Job) -> int:
    """What a swap uses beside its two buffers: the tensors of one layer's experts, and the loader's fresh memory."""
    model, tensor, size = job.model, job.engines.tensor, job.training.itemsize
    largest = 0
    for layer in model.layers:
        share = layer.experts // tensor
        whole = layer.experts if tensor > 1 and not job.engines.expert_parallel else share
        largest = max(largest, whole + share, 2 * layer.cut)
    return size * max(largest, 2 * model.embedding // tensor)


def sequences_that_fit(job: Job) -> int:
    """Sequences of mean length that the KV cache holds at once, groups sharing their history."""
    work = job.work
    each = token_bytes(job) * (work.history + work.group * work.action) + work.group * sequence_bytes(job)
    return max(1, job.engines.cache * work.group // max(1, each))
