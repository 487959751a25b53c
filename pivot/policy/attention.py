"""Attention over packs with shared prefixes, and the rotary embedding of their positions.

`BlockAttention` is a Megatron ``core_attention``. It computes the blocks of a pack (`pivot.policy.segments`) with the
device's own fused kernel (`pivot.policy.kernels`) and merges them by their log-sum-exp. Its backward pass hands every
block the merged output and log-sum-exp, as ring attention does (arXiv 2310.01889): with those, each kernel's own
backward gives exactly the block's share of the gradient. Keys and values of a history are there once, forward and
backward, whatever the number of actions that attend to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from pivot.policy.kernels import Call


@dataclass
class PackParams(PackedSeqParams):
    """What travels through Megatron's layers beside the hidden states of a pack.

    Not in ``thd`` form as far as Megatron is concerned: that would restart positions with every sequence.

    Attributes:
        positions: [t] int64, of this rank's rows, for the rotary embedding.
        calls: the kernel calls of this rank's blocks.
        order: [rows of the pack] int64, where each row lies among the rows of all context-parallel ranks; None
            without context parallelism.
        routes: [layers, t, topk] int16, the experts to choose for this rank's rows (``replay.py``); None: every router
            chooses.
    """

    positions: Tensor | None = None
    calls: Sequence[Call] = ()
    order: Tensor | None = None
    routes: Tensor | None = None


class PackRotary(RotaryEmbedding):
    """Rotary embedding at the pack's own positions, which restart after each history.

    Megatron asks ``get_rotary_seq_len`` what to call ``forward`` with; here that is the positions themselves.
    """

    def get_rotary_seq_len(self, *arguments: Any, **_: Any) -> Tensor:
        """The positions of the pack, the last of the positional arguments."""
        positions = arguments[-1].positions
        if positions is None:
            raise ValueError("PackRotary takes packs: pass PackParams as packed_seq_params")
        return positions

    def forward(self, positions: Tensor, **_: Any) -> Tensor:
        """[t] int64 -> [t, 1, 1, head size] float32 angles."""
        frequencies = self.inv_freq.to(positions.device)
        angles = torch.outer(positions.to(frequencies.dtype), frequencies)
        return torch.cat((angles, angles), dim=-1)[:, None, None, :]


class BlockAttention(MegatronModule):
    """Megatron's ``core_attention`` over a pack."""

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: Any,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: Any = None,
    ) -> None:
        super().__init__(config=config)
        if attention_dropout or config.attention_dropout:
            raise ValueError("BlockAttention has no dropout")
        self.scale = softmax_scale

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None = None,
        attn_mask_type: Any = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: PackParams | None = None,
    ) -> Tensor:
        """query [t, 1, heads, d], key and value [t, 1, groups, d] -> [t, 1, heads * d]."""
        if packed_seq_params is None or not packed_seq_params.calls or attention_mask is not None:
            raise ValueError("BlockAttention takes packs (PackParams) and no mask")
        query, key, value = query[:, 0], key[:, 0], value[:, 0]
        if packed_seq_params.order is not None:
            key, value = (_from_all_ranks(x, packed_seq_params.order) for x in (key, value))
        out: Tensor = _BlockAttention.apply(query, key, value, packed_seq_params.calls, self.scale)
        return out.flatten(1).unsqueeze(1)


def _from_all_ranks(local: Tensor, order: Tensor) -> Tensor:
    """Rows of all context-parallel ranks in the order of the pack; backward sums every rank's gradient of them."""
    group = parallel_state.get_context_parallel_group()
    everything: Tensor = gather_from_sequence_parallel_region(local, tensor_parallel_output_grad=True, group=group)
    return everything.index_select(0, order)


class _BlockAttention(torch.autograd.Function):
    """query [t, heads, d], key and value [pack, groups, d] -> [t, heads, d]."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, calls: Sequence[Call], scale: float | None
    ) -> Tensor:
        out = torch.empty_like(query)
        lse = query.new_empty(query.shape[:2], dtype=torch.float32)
        states = []
        for call in calls:
            part, part_lse, state = call.forward(query, key, value, scale)
            states.append(state)
            if call.causal:  # these come first, and every row is in one of them
                out[call.q_rows], lse[call.q_rows] = part, part_lse
            else:
                merge(out, lse, call.q_rows, part, part_lse)
        ctx.save_for_backward(query, key, value, out, lse)
        ctx.calls, ctx.states, ctx.scale = calls, states, scale
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse = ctx.saved_tensors
        grads = tuple(torch.zeros_like(x) for x in (query, key, value))
        for call, state in zip(ctx.calls, ctx.states, strict=True):
            call.backward(grad, (query, key, value), (out, lse), grads, state, ctx.scale)
        return *grads, None, None


def merge(out: Tensor, lse: Tensor, rows: slice | Tensor, part: Tensor, part_lse: Tensor) -> None:
    """Adds one block's softmax-normalised result to what the blocks before it gave, in place.

    Args:
        out: [t, heads, d], the result so far.
        lse: [t, heads] fp32, its log-sum-exp.
        rows: the block's queries.
        part: [n, heads, d].
        part_lse: [n, heads] fp32.
    """
    before = lse[rows]
    total = torch.logaddexp(before, part_lse)
    old, new = ((x - total).exp().unsqueeze(-1) for x in (before, part_lse))
    out[rows] = (out[rows].float() * old + part.float() * new).to(out.dtype)
    lse[rows] = total
