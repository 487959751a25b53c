"""The fused attention kernel of each device, behind one interface: some blocks of a pack, forward and backward.

Both are torch's own, called below `scaled_dot_product_attention` because merging blocks needs the log-sum-exp: on CPU
``aten::_scaled_dot_product_flash_attention_for_cpu``, one call a block; on CUDA ``aten::_flash_attention_forward`` with
sequence offsets, one call for all causal blocks and one for all full ones. Both take fewer key heads than query heads.

The CUDA side has never run on a GPU: tests/unit/policy/test_kernels.py holds it to the operators' signatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pivot.policy.segments import Block

Three = tuple[Tensor, Tensor, Tensor]
OPERATORS: Any = torch.ops.aten


class Call(Protocol):
    """One kernel call. Shapes: query [t, heads, d], key and value [pack, groups, d], log-sum-exp [t, heads] fp32."""

    @property
    def q_rows(self) -> slice | Tensor:
        """The queries that it answers."""

    @property
    def causal(self) -> bool:
        """Whether its blocks are causal."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> tuple[Tensor, Tensor, Any]:
        """The block's own output [n, heads, d], its log-sum-exp [n, heads], and what backward needs besides."""

    def backward(
        self, grad: Tensor, inputs: Three, merged: tuple[Tensor, Tensor], grads: Three, state: Any, scale: float | None
    ) -> None:
        """Adds the gradient of query, key and value to ``grads``.

        Args:
            grad: [t, heads, d], of the merged output.
            inputs: query, key, value.
            merged: output and log-sum-exp over all blocks: that of the whole softmax, not of this call.
            grads: what is added to.
            state: what ``forward`` gave.
            scale: of the scores; None for 1 / sqrt(d).
        """


def plan(blocks: Sequence[Block], device: torch.device) -> tuple[Call, ...]:
    """The calls that compute some blocks on a device."""
    if device.type != "cuda":
        return tuple(CpuCall(block) for block in blocks)
    kinds = [[block for block in blocks if block.causal is causal] for causal in (True, False)]
    return tuple(CudaCall.of(kind, device) for kind in kinds if kind)


@dataclass(frozen=True, slots=True)
class CpuCall:
    """One block."""

    block: Block

    @property
    def q_rows(self) -> slice:
        return slice(self.block.q_start, self.block.q_stop)

    @property
    def k_rows(self) -> slice:
        return slice(self.block.k_start, self.block.k_stop)

    @property
    def causal(self) -> bool:
        return self.block.causal

    def forward(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> tuple[Tensor, Tensor, None]:
        """See `Call`."""
        q, k, v = (_batch(x) for x in (query[self.q_rows], key[self.k_rows], value[self.k_rows]))
        out, lse = OPERATORS._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, self.causal, scale=scale)
        return out[0].transpose(0, 1), lse[0].transpose(0, 1), None

    def backward(
        self, grad: Tensor, inputs: Three, merged: tuple[Tensor, Tensor], grads: Three, state: None, scale: float | None
    ) -> None:
        """See `Call`."""
        query, key, value = inputs
        g, out, q = (_batch(x[self.q_rows]) for x in (grad, merged[0], query))
        k, v = (_batch(x[self.k_rows]) for x in (key, value))
        lse = merged[1][self.q_rows].transpose(0, 1).unsqueeze(0).contiguous()
        found = OPERATORS._scaled_dot_product_flash_attention_for_cpu_backward(
            g, q, k, v, out, lse, 0.0, self.causal, scale=scale
        )
        for total, part, rows in zip(grads, found, (self.q_rows, self.k_rows, self.k_rows), strict=True):
            total[rows] += part[0].transpose(0, 1)


def _batch(rows: Tensor) -> Tensor:
    """[n, heads, d] -> [1, heads, n, d], a view."""
    return rows.transpose(0, 1).unsqueeze(0)


@dataclass(frozen=True, slots=True)
class CudaCall:
    """All blocks of one kind in one call with sequence offsets.

    Attributes:
        q_rows: [n] int64 queries, block after block.
        k_rows: [m] int64 keys, likewise; a key that several blocks look at is there several times.
        cu_q, cu_k: [blocks + 1] int32 offsets.
        max_q, max_k: the longest block.
        causal: the kind.
    """

    q_rows: Tensor
    k_rows: Tensor
    cu_q: Tensor
    cu_k: Tensor
    max_q: int
    max_k: int
    causal: bool

    @classmethod
    def of(cls, blocks: Sequence[Block], device: torch.device) -> CudaCall:
        """The call for blocks of one kind."""
        q, k = ([(b.q_start, b.q_stop) for b in blocks], [(b.k_start, b.k_stop) for b in blocks])
        longest = [max(stop - start for start, stop in spans) for spans in (q, k)]
        rows, offsets = ([make(spans, device) for spans in (q, k)] for make in (_rows, _offsets))
        return cls(rows[0], rows[1], offsets[0], offsets[1], longest[0], longest[1], blocks[0].causal)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """See `Call`."""
        q, k, v = self._gathered(query, key, value)
        out, lse, rng, unused, _ = OPERATORS._flash_attention_forward(
            q, k, v, self.cu_q, self.cu_k, self.max_q, self.max_k, 0.0, self.causal, False, scale=scale
        )
        return out, lse.transpose(0, 1), (rng, unused)

    def backward(
        self,
        grad: Tensor,
        inputs: Three,
        merged: tuple[Tensor, Tensor],
        grads: Three,
        state: tuple[Tensor, Tensor],
        scale: float | None,
    ) -> None:
        """See `Call`."""
        g, out, lse = (x.index_select(0, self.q_rows) for x in (grad, *merged))
        found = OPERATORS._flash_attention_backward(
            g, *self._gathered(*inputs), out, lse.transpose(0, 1).contiguous(), self.cu_q, self.cu_k, self.max_q,
            self.max_k, 0.0, self.causal, *state, scale=scale,
        )  # fmt: skip
        for total, part, rows in zip(grads, found, (self.q_rows, self.k_rows, self.k_rows), strict=True):
            total.index_add_(0, rows, part)

    def _gathered(self, query: Tensor, key: Tensor, value: Tensor) -> Three:
        return query.index_select(0, self.q_rows), key.index_select(0, self.k_rows), value.index_select(0, self.k_rows)


def _rows(spans: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    return torch.cat([torch.arange(start, stop) for start, stop in spans]).to(device)


def _offsets(spans: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    return torch.tensor([0, *(stop - start for start, stop in spans)]).cumsum(0).to(device, torch.int32)
