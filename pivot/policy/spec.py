"""What a transformer layer is made of.

On CUDA the layer is Megatron's Transformer Engine layer. Elsewhere it is Megatron's local layer with two parts of ours:
a norm that knows sequence parallelism, and experts without autograd overhead per expert. Attention is ours on both: it
takes packs with shared prefixes (``attention.py``). Parameter names are the same in both as far as weights are
concerned (``hf.py`` lists the few aliases).
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from pivot.errors import UserError
from pivot.policy.attention import BlockAttention
from pivot.policy.balance import Balance, BalancedRouter
from pivot.policy.release import moe_submodules, of_class


class RMSNorm(torch.nn.RMSNorm):
    """RMSNorm whose weight says when its gradient is partial.

    Megatron's wrapper of torch's norm refuses sequence parallelism. Under it every tensor rank normalises its
    own tokens, and ``finalize_model_grads`` sums the gradient over them where the parameter carries the flag.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__(hidden_size, eps=eps)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


class Experts(SequentialMLP):
    """SequentialMLP (same parameters, same checkpoint) with plain matrix products: 1.4x faster on CPU."""

    def forward(self, hidden: Tensor, tokens_per_expert: Tensor, probs: Tensor) -> tuple[Tensor, None]:
        """hidden [n, h] sorted by expert, tokens_per_expert [experts here], probs [n] -> [n, h], no bias."""
        counts = tokens_per_expert.tolist()

        def linear(x: Tensor, name: str) -> Tensor:
            parts = zip(self.local_experts, x.split(counts), strict=True)
            return torch.cat([F.linear(part, getattr(expert, name).weight) for expert, part in parts])

        gate, up = linear(hidden, "linear_fc1").chunk(2, -1)
        inner = (F.silu(gate) * up * probs.unsqueeze(-1)).to(hidden.dtype)
        return linear(inner, "linear_fc2"), None


def grouped_gemm() -> bool:
    """Whether all experts of a rank are one grouped GEMM (Transformer Engine); elsewhere they are `Experts`."""
    return torch.cuda.is_available()


def block_spec(config: TransformerConfig, vp_stage: int | None, balance: Balance) -> Any:
    """The layers of this rank's model chunk ``vp_stage`` (None without interleaving).

    Where there is a load-balancing loss, their routers add it as ``balance`` says.

    Raises:
        UserError: there is a CUDA device but no Transformer Engine.
    """
    if torch.cuda.is_available():
        if importlib.util.find_spec("transformer_engine") is None:
            raise UserError("training on CUDA needs transformer-engine: pip install 'pivotrl[cuda]'")
        layer = get_gpt_layer_with_transformer_engine_spec(
            num_experts=config.num_moe_experts,
            moe_grouped_gemm=config.moe_grouped_gemm,
            qk_layernorm=config.qk_layernorm,
        )
        from megatron.core.extensions.transformer_engine import TENorm

        norm: Any = TENorm
    else:
        norm = RMSNorm
        layer = get_gpt_layer_local_spec(
            num_experts=config.num_moe_experts, qk_layernorm=config.qk_layernorm, normalization="RMSNorm"
        )
        parts = layer.submodules
        parts.input_layernorm = parts.pre_mlp_layernorm = norm
        attention = parts.self_attention.submodules
        if config.qk_layernorm:
            attention.q_layernorm = attention.k_layernorm = norm
        if config.num_moe_experts:
            moe = moe_submodules(layer)
            moe.experts = of_class(Experts, moe.experts)
    layer.submodules.self_attention.submodules.core_attention = BlockAttention
    if config.num_moe_experts and balance.coefficient:
        moe_submodules(layer).router = functools.partial(BalancedRouter, balance=balance)
    count = get_num_layers_to_build(config, vp_stage=vp_stage)
    return TransformerBlockSubmodules(layer_specs=[layer] * count, layer_norm=norm)
