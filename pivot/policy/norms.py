"""Norms of gradients and parameters by kind of layer, as if the model were on one rank."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.tensor_parallel import param_is_not_tensor_parallel_duplicate
from megatron.core.transformer.module import param_is_not_shared
from torch import Tensor
from torch.nn import Parameter

from pivot.policy.kinds import KINDS, kind_of, named


@torch.no_grad()
def norms(chunks: Iterable[GPTModel], optimizer: MegatronOptimizer) -> dict[str, float]:
    """Call it after the backward passes of a step and before its update; collective over all ranks.

    Every number of the model counts once: what tensor, expert-tensor or data-parallel ranks hold in common is counted
    by the first of them, the copy of a tied embedding not at all.

    Args:
        chunks: this rank's unwrapped model chunks.
        optimizer: theirs; with Megatron's distributed one a gradient is complete only where its update is made.

    Returns:
        ``param_norm/<kind>`` of each kind of layer in the model and ``grad_norm/<kind>`` of each that is trained, the
        same on every rank. The squares of the latter add up to the square of the global gradient norm before clipping.
    """
    # by kind: squares of parameters, of gradients; whether there is a parameter, a gradient
    sums = torch.zeros((4, len(KINDS)), dtype=torch.float64, device=torch.cuda.current_device())
    parts = [part for part in optimizer.chained_optimizers if isinstance(part, DistributedOptimizer)]
    for name, parameter in named(chunks):
        if not param_is_not_shared(parameter) or not param_is_not_tensor_parallel_duplicate(parameter):
            continue
        column = KINDS.index(kind_of(name))
        first = _first_replica(parameter)
        if first:
            sums[0, column] += _square(parameter)
            sums[2, column] = 1
        if parameter.requires_grad and (gradient := _own_gradient(parameter, parts, first)) is not None:
            sums[1, column] += _square(gradient)
            sums[3, column] = 1
    dist.all_reduce(sums)
    squares, present = sums.view(2, 2, -1).sqrt().tolist()
    return {
        f"{what}_norm/{kind}": value
        for what, values, exists in zip(("param", "grad"), squares, present, strict=True)
        for kind, value, here in zip(KINDS, values, exists, strict=True)
        if here
    }


def _square(tensor: Tensor) -> Tensor:
    return torch.linalg.vector_norm(tensor, dtype=torch.float32).double().square()


def _first_replica(parameter: Parameter) -> bool:
    if getattr(parameter, "allreduce", True):  # Megatron's mark of a parameter that is not an expert's
        return bool(parallel_state.get_data_parallel_rank(with_context_parallel=True) == 0)
    return bool(parallel_state.get_expert_data_parallel_rank() == 0)


def _own_gradient(parameter: Parameter, parts: list[DistributedOptimizer], first: bool) -> Tensor | None:
    """What this rank counts of a parameter's gradient; None for nothing."""
    whole: Tensor = vars(parameter)["main_grad"]  # fp32, made by DDP
    if not parts:
        return whole if first else None
    for part in parts:
        if parameter in part.model_param_gbuf_map:
            span = part._get_model_param_range_map(parameter)["param"]
            return whole.view(-1)[span.start : span.end]
    return None
