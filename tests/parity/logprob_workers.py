"""What runs on the ranks of the logprobs' tests: each holds a slice of the vocabulary."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pivot.policy  # before Megatron, which it makes work on a CPU  # noqa: F401  # isort: skip
import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.tensor_parallel import ColumnParallelLinear
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import initialize
from pivot.policy.head import ScoringHead, Wanted
from pivot.policy.logprobs import hidden_logprobs, vocab_parallel_logprobs


def weigh(scores: tuple[Tensor, Tensor]) -> Tensor:
    """A loss that is different for every score."""
    weights = torch.sin(torch.arange(2 * scores[0].numel(), dtype=torch.float32)).view(2, -1)
    return (weights[0] * scores[0] + weights[1] * scores[1]).sum()


def slices(hidden: Tensor, weight: Tensor, targets: Tensor, parts: int, chunks: list[int]) -> list[dict[str, Any]]:
    """Scores and gradients by ``hidden_logprobs`` and ``vocab_parallel_logprobs`` for every size of chunk."""
    initialize(Layout(tensor=parts), seed=1)
    group = parallel_state.get_tensor_model_parallel_group()
    mine = weight.chunk(parts)[group.rank()]
    results = []
    for chunk in chunks:
        rows, matrix = hidden.clone().requires_grad_(), mine.clone().requires_grad_()
        scores = hidden_logprobs(rows, matrix, targets, temperature=0.7, group=group, chunk_rows=chunk)
        weigh(scores).backward()
        logits = (hidden @ mine.t()).requires_grad_()
        again = vocab_parallel_logprobs(logits, targets, temperature=0.7, group=group, chunk_rows=chunk)
        weigh(again).backward()
        results.append(
            {
                "scores": torch.stack(scores).detach(),
                "logits scores": torch.stack(again).detach(),
                "hidden": rows.grad,
                "weight": matrix.grad,
                "logits": logits.grad,
            }
        )
    return results


def layer(hidden: Tensor, weight: Tensor, rows: Tensor, targets: Tensor, sequence: bool) -> dict[str, Any]:
    """``ScoringHead`` in Megatron's output layer on two tensor ranks, its weight its own or passed in."""
    initialize(Layout(tensor=2), seed=1)
    group = parallel_state.get_tensor_model_parallel_group()
    config = TransformerConfig(
        num_layers=1,
        hidden_size=hidden.size(-1),
        num_attention_heads=2,
        tensor_model_parallel_size=2,
        sequence_parallel=sequence,
        use_cpu_initialization=True,
        gradient_accumulation_fusion=False,
    )
    output = ColumnParallelLinear(
        hidden.size(-1), weight.size(0), config=config, init_method=torch.nn.init.zeros_, bias=False
    )
    head = ScoringHead(sequence)
    head.install(SimpleNamespace(output_layer=output))  # type: ignore[arg-type]
    head.wanted = Wanted(rows, targets, 0.7)
    with torch.no_grad():
        output.weight.copy_(weight.chunk(2)[group.rank()])
    tied = torch.nn.Parameter(output.weight.detach().clone())
    result: dict[str, Any] = {}
    for name, passed in (("own", None), ("tied", tied)):
        local = (hidden.chunk(2)[group.rank()] if sequence else hidden).clone().requires_grad_()
        scores, bias = output(local, weight=passed, runtime_gather_output=None)
        assert bias is None
        weigh(tuple(scores[:, 0].unbind(-1))).backward()
        result[name] = {"scores": scores.detach(), "hidden": local.grad}
    result["own"]["weight"], result["tied"]["weight"] = output.weight.grad, tied.grad
    return result


def whole(hidden: Tensor, weight: Tensor, targets: Tensor, rows: Tensor | None = None) -> dict[str, Tensor]:
    """The same on one rank by autograd, through log_softmax."""
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    chosen = hidden if rows is None else hidden[:, 0].index_select(0, rows)
    logits = chosen @ weight.t()
    logits.retain_grad()
    log = F.log_softmax(logits / 0.7, -1)
    scores = log.gather(-1, targets[:, None])[:, 0], -(log.exp() * log).sum(-1)
    weigh(scores).backward()
    gradients = {"hidden": hidden.grad, "weight": weight.grad, "logits": logits.grad}
    return {"scores": torch.stack(scores).detach()} | {name: g for name, g in gradients.items() if g is not None}
