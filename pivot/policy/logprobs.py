"""Logprob of the next token and entropy of its distribution, with the vocabulary spread over tensor ranks.

Logits are the largest tensor of a training step: rows x vocabulary, several times over in fp32. Here the rows are
taken a chunk at a time, in backward again from what forward was given, so that only one chunk of logits exists at
any moment. Tensor ranks exchange two small vectors a call, whatever the number of chunks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

CHUNK_ROWS = 512
"""Rows whose logits exist at a time, in two or three fp32 tensors. Each chunk adds to the gradient of the whole output
matrix: with fewer rows that would be the larger part of the work on a GPU."""


class _Scores(torch.autograd.Function):
    """Saves its inputs and two numbers a row; backward computes the logits of a chunk again."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor | None, targets: Tensor, temperature: float, group: Any, size: int
    ) -> tuple[Tensor, Tensor]:
        width = rows.size(1) if weight is None else weight.size(0)
        parts = 1 if group is None else group.size()
        local = targets - (0 if group is None else group.rank() * width)
        here = (local >= 0) & (local < width)
        column = local.clamp(0, width - 1)
        top = rows.new_empty(rows.size(0), dtype=torch.float32)
        sums = rows.new_empty((3, rows.size(0)), dtype=torch.float32)
        for part in _chunks(rows.size(0), size):
            scaled = _scaled_logits(rows[part], weight, temperature)
            sums[2, part] = scaled.gather(-1, column[part].unsqueeze(-1)).squeeze(-1) * here[part]
            top[part] = scaled.amax(-1)
            scaled -= top[part].unsqueeze(-1)
            exps = scaled.exp()
            sums[0, part] = exps.sum(-1)
            sums[1, part] = exps.mul_(scaled).sum(-1)
        if parts > 1:
            top = _sum_over_ranks(top, sums, group)
        spread = sums[0].log()
        entropy = spread - sums[1] / sums[0]
        ctx.save_for_backward(rows, weight, column, here, top + spread, entropy)
        ctx.temperature, ctx.size, ctx.group = temperature, size, group if parts > 1 else None
        ctx.set_materialize_grads(False)
        return sums[2] - top - spread, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprob: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, weight, column, here, log_z, entropy = ctx.saved_tensors
        need_rows, need_weight = ctx.needs_input_grad[:2]
        grad_rows = torch.empty_like(rows) if need_rows else None
        # summed over chunks in fp32: a sum in bf16 would lose what one product over all rows keeps
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if need_weight else None
        for part in _chunks(rows.size(0), ctx.size):
            logsoftmax = _scaled_logits(rows[part], weight, ctx.temperature).sub_(log_z[part].unsqueeze(-1))
            outer = (None if grad is None else grad[part] for grad in (grad_logprob, grad_entropy))
            grad = _logits_gradient(logsoftmax, entropy[part], column[part], here[part], *outer)
            grad = grad.div_(ctx.temperature).to(rows.dtype)
            if grad_rows is not None:
                grad_rows[part] = grad if weight is None else grad @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad, rows[part])
        if grad_rows is not None and weight is not None and ctx.group is not None:
            dist.all_reduce(grad_rows, group=ctx.group)
        return grad_rows, None if grad_weight is None else grad_weight.to(weight.dtype), None, None, None, None


def _chunks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _scaled_logits(rows: Tensor, weight: Tensor | None, temperature: float) -> Tensor:
    """A fresh fp32 tensor, which the caller may change in place."""
    if weight is None:
        return rows.float() / temperature  # a copy even at temperature 1
    return (rows @ weight.t()).float().div_(temperature)


def _sum_over_ranks(top: Tensor, sums: Tensor, group: Any) -> Tensor:
    """The row maxima over all ranks; ``sums``, in place: relative to them and summed over the ranks."""
    whole = top.clone()
    dist.all_reduce(whole, op=dist.ReduceOp.MAX, group=group)
    shift = top - whole
    sums[1] += shift * sums[0]
    sums[:2] *= shift.exp()
    dist.all_reduce(sums, group=group)
    return whole


def _logits_gradient(
    logsoftmax: Tensor,
    entropy: Tensor,
    column: Tensor,
    here: Tensor,
    grad_logprob: Tensor | None,
    grad_entropy: Tensor | None,
) -> Tensor:
    """Gradient by the scaled logits; it overwrites ``logsoftmax``.

    d logprob = onehot - softmax;  d entropy = -softmax * (logsoftmax + entropy).
    """
    softmax = logsoftmax.exp()
    if grad_entropy is None:
        grad = logsoftmax.zero_()
    else:
        grad = logsoftmax.add_(entropy.unsqueeze(-1)).mul_(grad_entropy.unsqueeze(-1))
    if grad_logprob is not None:
        grad += grad_logprob.unsqueeze(-1)
    grad.mul_(softmax).neg_()
    if grad_logprob is not None:
        grad.scatter_add_(-1, column.unsqueeze(-1), (grad_logprob * here).unsqueeze(-1))
    return grad


def _add_product(total: Tensor, grad: Tensor, rows: Tensor) -> None:
    """total += grad^T rows; ``total`` is fp32."""
    if grad.dtype is torch.float32:
        total.addmm_(grad.t(), rows)
    else:
        total += grad.t() @ rows


def hidden_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    group: Any = None,
    chunk_rows: int = CHUNK_ROWS,
) -> tuple[Tensor, Tensor]:
    """Logprob of each target and entropy, from the last hidden states; differentiable in ``hidden`` and ``weight``.

    Beside the results and the gradients, memory is a few chunks of logits and, in backward, one fp32 tensor of the
    shape of ``weight``.

    Args:
        hidden: [n, h] rows to score, the same on every rank of ``group``; its gradient is summed over the group.
        weight: [vocabulary / ranks, h], this rank's consecutive rows of the output matrix, in the dtype of ``hidden``.
        targets: [n] int64, token ids in the whole vocabulary.
        temperature: the distribution is softmax(logits / temperature).
        group: the ranks that share the vocabulary, in slice order; None for one.
        chunk_rows: rows whose logits may exist at a time.

    Returns:
        logprob [n] and entropy in nats [n], fp32, the same on every rank of ``group``.
    """
    logprob, entropy = _Scores.apply(hidden, weight, targets, temperature, group, chunk_rows)
    return logprob, entropy


def vocab_parallel_logprobs(
    logits: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    group: Any = None,
    chunk_rows: int = CHUNK_ROWS,
) -> tuple[Tensor, Tensor]:
    """``hidden_logprobs`` for a model that gives logits only: none of them is copied to fp32 as a whole.

    Args:
        logits: [n, vocabulary / ranks], this rank's consecutive slice of the vocabulary; not changed.
        targets: [n] int64, token ids in the whole vocabulary.
        temperature: the distribution is softmax(logits / temperature).
        group: the ranks that share the vocabulary, in slice order; None for one.
        chunk_rows: rows whose logits may exist in fp32 at a time.

    Returns:
        logprob [n] and entropy in nats [n], fp32, the same on every rank of ``group``.
    """
    logprob, entropy = _Scores.apply(logits, None, targets, temperature, group, chunk_rows)
    return logprob, entropy
