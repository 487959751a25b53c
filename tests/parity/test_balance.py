"""The load-balancing loss: equal to its definition on Hugging Face's router logits, in every layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import Policy, initialize
from tests.parity.cases import balanced_for
from tests.parity.conftest import Reference
from tests.parity.test_layouts import RELATIVE, relative


@pytest.fixture(scope="module")
def expected(moe: Reference) -> dict[str, Tensor]:
    """The gradient of the loss, by its definition; experts left out, which Hugging Face holds otherwise."""
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(moe.path, dtype=torch.float32).eval()
    experts, topk = model.config.num_experts, model.config.num_experts_per_tok
    step = sum(tokens.numel() - 1 for batch in moe.samples for tokens, _ in batch)
    for batch in moe.samples:
        outputs = [model(tokens[None, :-1], output_router_logits=True).router_logits for tokens, _ in batch]
        for layer in zip(*outputs, strict=True):
            logits = torch.cat(layer).float()
            probabilities = logits.softmax(-1)
            chosen = torch.zeros_like(logits).scatter(1, logits.topk(topk, -1).indices, 1.0)
            loss = experts * (chosen.mean(0) / topk * probabilities.mean(0)).sum()
            (0.5 * len(logits) / step * loss).backward(retain_graph=True)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and ".experts." not in name}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_gradient_of_the_balancing_loss_in_every_layout(
    on_ranks: dict[int, list[dict[str, Any]]], expected: dict[str, Tensor], whole: bool, ranks: int
) -> None:
    count = len(balanced_for(ranks, whole)) + 1  # the last once more with recomputation
    for rank in on_ranks[ranks]:
        assert len(rank["balanced"]) == count
        for gradients in rank["balanced"]:
            # nothing but the layers' inputs feeds the last router: weights behind it have no gradient
            worst = relative({name: gradients[name] for name in expected}, expected)
            assert max(worst.values()) < RELATIVE, max(worst, key=worst.__getitem__)
            assert gradients["lm_head.weight"].abs().max() == 0
    assert expected["model.layers.3.mlp.gate.weight"].abs().max() > 1e-3


def test_a_model_without_experts_has_nothing_to_balance(others: dict[str, Reference]) -> None:
    initialize(Layout(), seed=0)
    with pytest.raises(UserError, match=r"model\.router_aux_loss is 0\.1, but a llama model has no experts: set 0"):
        Policy.from_hf(others["llama"].path, Layout(), optimizer=None, router_aux_loss=0.1)
