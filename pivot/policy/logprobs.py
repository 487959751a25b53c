"""Logprob of the next token and entropy of its distribution, with the vocabulary spread over tensor ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _VocabParallel(torch.autograd.Function):
    """Forward: two small all-reduces. Backward: local, from the softmax saved in forward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, temperature: float, group: Any) -> tuple[Tensor, Tensor]:
        scaled = logits.float() / temperature  # a fresh tensor even at temperature 1: changed in place below
        parts = 1 if group is None else group.size()
        first = 0 if group is None else group.rank() * logits.size(-1)
        top = scaled.amax(-1)
        if parts > 1:
            dist.all_reduce(top, op=dist.ReduceOp.MAX, group=group)
        scaled -= top.unsqueeze(-1)
        local = targets - first
        here = (local >= 0) & (local < logits.size(-1))
        column = local.clamp(0, logits.size(-1) - 1).unsqueeze(-1)
        chosen = scaled.gather(-1, column).squeeze(-1) * here
        exps = scaled.exp()
        sums = torch.stack([exps.sum(-1), (exps * scaled).sum(-1), chosen])
        if parts > 1:
            dist.all_reduce(sums, group=group)
        log_z = sums[0].log()
        entropy = log_z - sums[1] / sums[0]
        ctx.save_for_backward(exps.div_(sums[0].unsqueeze(-1)), scaled.sub_(log_z.unsqueeze(-1)), column, here, entropy)
        ctx.temperature, ctx.dtype = temperature, logits.dtype
        ctx.set_materialize_grads(False)
        return sums[2] - log_z, entropy

    @staticmethod
    def backward(ctx: Any, grad_logprob: Tensor | None, grad_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        softmax, logsoftmax, column, here, entropy = ctx.saved_tensors
        grad = torch.zeros_like(softmax)
        if grad_logprob is not None:
            grad -= softmax * grad_logprob.unsqueeze(-1)
            grad.scatter_add_(-1, column, (grad_logprob * here).unsqueeze(-1))
        if grad_entropy is not None:
            grad -= softmax * (logsoftmax + entropy.unsqueeze(-1)) * grad_entropy.unsqueeze(-1)
        return (grad / ctx.temperature).to(ctx.dtype), None, None, None


def vocab_parallel_logprobs(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, group: Any = None
) -> tuple[Tensor, Tensor]:
    """Logprob of each target and entropy, both at ``temperature`` and both differentiable.

    Args:
        logits: [n, vocabulary / ranks], this rank's consecutive slice of the vocabulary; not changed.
        targets: [n] int64, token ids in the whole vocabulary.
        temperature: the distribution is softmax(logits / temperature).
        group: the ranks that share the vocabulary, in slice order; None for one.

    Returns:
        logprob [n] and entropy in nats [n], fp32, the same on every rank of ``group``.
    """
    logprob, entropy = _VocabParallel.apply(logits, targets, temperature, group)
    return logprob, entropy
