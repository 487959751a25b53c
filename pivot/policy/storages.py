"""Where a policy's memory is: the storages behind its parameters, gradients and optimizer state, each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch import Tensor, UntypedStorage


@dataclass(frozen=True, slots=True)
class Storages:
    """Disjoint lists of storages on the policy's device.

    Attributes:
        parameters: of the model; Megatron's parameter buffers where there are any.
        gradients: Megatron's gradient buffers; what is in them is worth nothing after an update.
        optimizer: moments, and fp32 copies of the parameters; what lives in host memory anyway is not in it.
    """

    parameters: list[UntypedStorage]
    gradients: list[UntypedStorage]
    optimizer: list[UntypedStorage]


def find(models: Iterable[GPTModel], wrapped: Iterable[Any], optimizer: MegatronOptimizer | None) -> Storages:
    """The storages of a policy as they are now: Adam's moments are there from the first update on.

    Args:
        models: this rank's model chunks.
        wrapped: the same, each in ``DistributedDataParallel`` when there is an optimizer.
        optimizer: theirs.
    """
    weights = [parameter.data for model in models for parameter in model.parameters()]
    gradients: list[Tensor] = []
    for chunk in wrapped:
        if isinstance(chunk, DistributedDataParallel):
            for buffer in (*chunk.buffers, *chunk.expert_parallel_buffers):
                gradients.append(buffer.grad_data)
                if buffer.param_data is not None:  # with the distributed optimizer: parameters are views of it
                    weights.append(buffer.param_data)
    known: set[int] = set()
    device = weights[0].device
    return Storages(
        parameters=_distinct(weights, device, known),
        gradients=_distinct(gradients, device, known),
        optimizer=_distinct(_state(optimizer), device, known),
    )


def _state(optimizer: MegatronOptimizer | None) -> Iterator[Tensor]:
    """Tensors that an optimizer works on: among them the model's own parameters, where it has no fp32 copy."""
    for part in optimizer.chained_optimizers if optimizer is not None else ():
        if part.optimizer is None:  # a rank on which it has no parameter
            continue
        for group in part.optimizer.param_groups:
            yield from (parameter.data for parameter in group["params"])
        for state in part.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))


def _distinct(tensors: Iterable[Tensor], device: torch.device, known: set[int]) -> list[UntypedStorage]:
    """Their storages on ``device`` that are not in ``known`` yet, which they are added to."""
    found = []
    for tensor in tensors:
        storage = tensor.untyped_storage()
        if tensor.device == device and storage._cdata not in known:
            known.add(storage._cdata)
            found.append(storage)
    return found


def total_bytes(storages: Sequence[UntypedStorage]) -> int:
    """Bytes that they hold now."""
    return sum(storage.nbytes() for storage in storages)
