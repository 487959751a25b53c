"""The optimizer: Megatron's, with settings of our own and a learning rate given at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW.

    Attributes:
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled; not applied to vectors (norm weights).
        clip: largest global gradient norm; 0 for none.
        distributed: spread optimizer state over data-parallel ranks (ZeRO 1).
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    distributed: bool = False


def build(settings: OptimizerSettings, chunks: list[Any], dtype: torch.dtype) -> MegatronOptimizer:
    """Megatron's optimizer over this rank's DDP-wrapped model chunks, whose parameters are in ``dtype``."""
    config = OptimizerConfig(
        optimizer="adam",
        lr=0.0,
        min_lr=0.0,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        adam_eps=settings.eps,
        clip_grad=settings.clip,
        bf16=dtype is torch.bfloat16,
        fp16=False,
        params_dtype=dtype,
        use_distributed_optimizer=settings.distributed,
    )
    return get_megatron_optimizer(config, chunks)


def step(optimizer: MegatronOptimizer, lr: float) -> float:
    """One update at learning rate ``lr``; returns the global gradient norm before clipping.

    Raises:
        FloatingPointError: the gradient norm is not finite; nothing was updated.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    if norm != norm or norm == float("inf"):
        raise FloatingPointError(f"gradient norm is {norm}: the weights were not updated")
    optimizer.step()
    return norm
