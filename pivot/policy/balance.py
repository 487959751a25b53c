"""The load-balancing loss of MoE layers, exact under every layout. Off unless `model.router_aux_loss` is above 0.

Of a micro-batch of T tokens and E experts, k of them chosen a token, it is in every layer

    E * sum over experts i of (share of the k T choices that fell on i) * (mean probability of i over the T tokens),

1 where all experts are equally used (Switch Transformers, arXiv 2101.03961). A step's loss is its mean over the step's
micro-batches weighted with their tokens, times the coefficient, summed over layers, and is added to the caller's.
Megatron's own scales it by the tokens of a tensor rank, so that it shrinks with the number of those.
"""

from __future__ import annotations

from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import reduce_from_tensor_model_parallel_region
from megatron.core.transformer.moe.moe_utils import MoEAuxLossAutoScaler
from megatron.core.transformer.moe.router import TopKRouter
from torch import Tensor


class Balance:
    """The coefficient of the loss, 0 for none, and what it is divided by.

    Attributes:
        coefficient: of each layer's loss.
        tokens: of the step, over all micro-batches and ranks, padding left out; set before each forward pass.
    """

    def __init__(self, coefficient: float) -> None:
        self.coefficient = coefficient
        self.tokens = 0


class BalancedRouter(TopKRouter):
    """Megatron's router with the loss of this module in the place of its own."""

    def __init__(self, *, balance: Balance, **rest: Any) -> None:
        super().__init__(**rest)
        self.balance = balance

    def _apply_aux_loss(
        self, probs: Tensor, scores_for_aux_loss: Tensor, routing_map: Tensor, with_padding_mask: bool = False
    ) -> Tensor:
        """Attaches the gradient of the loss to ``probs`` [tokens, experts].

        Args:
            probs: what goes on to the experts.
            scores_for_aux_loss: [tokens, experts] probabilities, zero for padding.
            routing_map: [tokens, experts] choices, none for padding.
            with_padding_mask: whether the two have been masked.
        """
        if not with_padding_mask:
            raise RuntimeError("the load-balancing loss needs the padding mask")
        chosen = reduce_from_tensor_model_parallel_region(routing_map.sum(0), self.tp_cp_group)
        total = chosen.sum().clamp_min(1)  # topk * tokens of the micro-batch, over the ranks that share it
        # mean over its tokens, times its share of the step's: its number of tokens falls out
        scale = self.balance.coefficient * self.config.num_moe_experts / max(self.balance.tokens, 1)
        loss = scale * (chosen / total * scores_for_aux_loss.sum(0)).sum()
        attached: Tensor = MoEAuxLossAutoScaler.apply(probs, loss)
        return attached


def chunk_mask(padding: Tensor, model: GPTModel) -> Tensor:
    """The padding mask [1, t] as a model chunk takes it: Megatron cuts it over tensor ranks in the first one only."""
    if model.pre_process or not model.config.sequence_parallel:
        return padding
    group = parallel_state.get_tensor_model_parallel_group()
    return torch.chunk(padding, group.size(), dim=1)[group.rank()].contiguous()
