"""What runs on ranks for the shared-prefix tests: the same groups once shared and once replicated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import OptimizerSettings, PackedGroup, Policy, data_parallel_rank, data_parallel_size, initialize
from tests.parity.conftest import loss_weights

Groups = list[tuple[Tensor, tuple[Tensor, ...]]]
"""(history, actions)."""


def both_ways(path: Path, micro: list[Groups], cases: list[tuple[Layout, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Logprobs (every micro-batch in order), loss gradient and grad norm of each layout, shared and replicated."""
    results = []
    for layout, options in cases:
        initialize(layout, seed=5)
        policy = Policy.from_hf(path, layout, optimizer=OptimizerSettings(), freeze_router=False, **options)
        mine = list(range(data_parallel_rank(), len(micro), data_parallel_size()))
        shared = [[PackedGroup(history, actions) for history, actions in micro[i]] for i in mine]
        replicated = [[one for group in batch for one in group.replicated()] for batch in shared]
        ways = {"shared": shared, "replicated": replicated}
        results.append({name: measure(policy, batches, mine, len(micro)) for name, batches in ways.items()})
    return results


def measure(policy: Policy, batches: list[list[PackedGroup]], mine: list[int], count: int) -> dict[str, Any]:
    """What `both_ways` compares."""

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = loss_weights(logprobs.numel(), mine[index])
        return -(weight * logprobs).sum() + 0.1 * (weight * entropy).sum(), {}

    found = dict(zip(mine, policy.logprobs(batches, temperature=0.7), strict=True))
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, found)
    whole = {index: pair for held in everyone for index, pair in held.items()}
    policy.forward_backward(batches, loss)
    gradients = {name: tensor.clone() for name, tensor in policy.hf_gradients()}
    logprobs, entropy = zip(*(whole[i] for i in range(count)), strict=True)
    return {"logprobs": torch.cat(logprobs), "entropy": torch.cat(entropy), "gradients": gradients,
            "norm": policy.optimizer_step(0.0)}  # fmt: skip
