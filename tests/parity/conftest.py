"""Tiny checkpoints made here, and what Hugging Face computes on them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

VOCAB = 512
# (length, prompt length) of the samples of each of four micro-batches; one scores nothing, one scores all it
# can
LENGTHS = [[(20, 5), (33, 30)], [(9, 1), (5, 5), (17, 3)], [(40, 11)], [(12, 6), (25, 24), (7, 2)]]


@dataclass(frozen=True)
class Reference:
    """A checkpoint and Hugging Face's results on ``samples`` in fp32."""

    path: Path
    samples: list[list[tuple[Tensor, int]]]
    logprobs: dict[float, Tensor]  # temperature -> [all scored tokens]
    entropy: dict[float, Tensor]
    gradients: dict[str, Tensor]  # of the loss in workers.py, by name in the running model


def loss_weights(count: int, index: int) -> Tensor:
    """Weights of a loss that is different for every token: [count]."""
    return torch.sin(torch.arange(count, dtype=torch.float32) + 7 * index) / 50


def _reference(model: Any, path: Path) -> Reference:
    model.save_pretrained(path)
    generator = torch.Generator().manual_seed(3)
    samples = [[(torch.randint(0, VOCAB, (n,), generator=generator), p) for n, p in batch] for batch in LENGTHS]
    logprobs: dict[float, Tensor] = {}
    entropy: dict[float, Tensor] = {}
    for temperature in (1.0, 0.7):
        loss = torch.zeros(())
        scores, entropies = [], []
        for index, batch in enumerate(samples):
            parts = []
            for tokens, prompt in batch:
                logits = model(tokens[None]).logits[0, prompt - 1 : -1].float() / temperature
                log = torch.log_softmax(logits, -1)
                parts.append((log.gather(-1, tokens[prompt:, None])[:, 0], -(log.exp() * log).sum(-1)))
            score, spread = (torch.cat(part) for part in zip(*parts, strict=True))
            weight = loss_weights(score.numel(), index)
            loss = loss - (weight * score).sum() + 0.1 * (weight * spread).sum()
            scores.append(score.detach())
            entropies.append(spread.detach())
        logprobs[temperature], entropy[temperature] = torch.cat(scores), torch.cat(entropies)
        if temperature == 1.0:
            model.zero_grad()
            loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return Reference(path, samples, logprobs, entropy, gradients)


@pytest.fixture(scope="session")
def moe(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """A Qwen3-MoE with weights large enough that routing and attention matter."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=2,
        moe_intermediate_size=64,
        norm_topk_prob=True,
        initializer_range=0.1,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )
    model = Qwen3MoeForCausalLM(config).eval()
    _shake_norms(model)
    return _reference(model, tmp_path_factory.mktemp("moe"))


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """The other shapes that must load.

    ``llama`` is SmolLM2's (grouped queries, no query/key norm, tied embeddings), ``qwen3`` the dense Qwen3, and
    ``plain-topk`` an MoE whose routing probabilities are not renormalised over the chosen experts.
    """
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
        Qwen3MoeConfig,
        Qwen3MoeForCausalLM,
    )

    common: dict[str, Any] = {
        "vocab_size": VOCAB,
        "hidden_size": 96,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "initializer_range": 0.1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
    }
    heads: dict[str, Any] = {"num_attention_heads": 4, "head_dim": 16, "tie_word_embeddings": False}
    torch.manual_seed(1)
    models = {
        "llama": LlamaForCausalLM(
            LlamaConfig(**common, num_attention_heads=6, intermediate_size=160, tie_word_embeddings=True)
        ),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**common, **heads, intermediate_size=160)),
        "plain-topk": Qwen3MoeForCausalLM(
            Qwen3MoeConfig(
                **common,
                **heads,
                num_experts=4,
                num_experts_per_tok=2,
                moe_intermediate_size=32,
                norm_topk_prob=False,
            )
        ),
    }
    references = {}
    for name, model in models.items():
        _shake_norms(model)
        references[name] = _reference(model.eval(), tmp_path_factory.mktemp(name))
    return references


def _shake_norms(model: Any) -> None:
    """Norm weights start at one, where a norm that is swapped or dropped would not show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
