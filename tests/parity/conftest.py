"""Tiny checkpoints made here, and what Hugging Face computes on them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.parity.cases import RANKS, SHORT_STREAMED, STEPS, STREAMED, balanced_for, computed_for, slow_selected
from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_checkpoint

sys.path.insert(0, str(Path(__file__).parent))

VOCAB = 512
# (length, history length) of the sequences of each of four micro-batches; one scores one token, one all it
# can
LENGTHS = [[(20, 5), (33, 30)], [(9, 1), (5, 4), (17, 3)], [(40, 11)], [(12, 6), (25, 24), (7, 2)]]


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
    _shake(model)
    return _reference(model, tmp_path_factory.mktemp("moe"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of the tests with engines."""
    path = tmp_path_factory.mktemp("tiny")
    make_checkpoint(path)
    return path


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """The other shapes that must load.

    ``llama`` is SmolLM2's (grouped queries, no query/key norm, tied embeddings), ``qwen3`` the dense Qwen3,
    ``plain-topk`` an MoE whose routing probabilities are not renormalised over the chosen experts; ``qwen2`` has
    biases, and ``qwen2_moe`` a shared expert besides.
    """
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MixtralConfig,
        MixtralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen2MoeConfig,
        Qwen2MoeForCausalLM,
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
    six: dict[str, Any] = {"num_attention_heads": 6}
    heads: dict[str, Any] = {"num_attention_heads": 4, "head_dim": 16, "tie_word_embeddings": False}
    experts: dict[str, Any] = {"num_experts_per_tok": 2}
    torch.manual_seed(1)
    models = {
        "llama": LlamaForCausalLM(LlamaConfig(**common, **six, intermediate_size=160, tie_word_embeddings=True)),
        "llama-untied": LlamaForCausalLM(LlamaConfig(**common, **heads, intermediate_size=160)),
        "qwen3": Qwen3ForCausalLM(Qwen3Config(**common, **heads, intermediate_size=160)),
        "plain-topk": Qwen3MoeForCausalLM(
            Qwen3MoeConfig(**common, **heads, **experts, num_experts=4, moe_intermediate_size=32, norm_topk_prob=False)
        ),
        "mixtral": MixtralForCausalLM(
            MixtralConfig(**common, **heads, **experts, num_local_experts=4, intermediate_size=32, sliding_window=None)
        ),
        "qwen2": Qwen2ForCausalLM(Qwen2Config(**common, **six, intermediate_size=160, tie_word_embeddings=True)),
        "qwen2_moe": Qwen2MoeForCausalLM(
            Qwen2MoeConfig(
                **common,
                **six,
                **experts,
                num_experts=4,
                moe_intermediate_size=32,
                shared_expert_intermediate_size=48,
                tie_word_embeddings=False,
            )
        ),
    }
    references = {}
    for name, model in models.items():
        _shake(model)
        references[name] = _reference(model.eval(), tmp_path_factory.mktemp(name))
    return references


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of an MoE of 29 MB, of which the largest matrix of a layer with all its experts is 2 MB."""
    from pivot.policy import hf
    from pivot.shape import read_shape

    path = tmp_path_factory.mktemp("large")
    config = {
        "model_type": "qwen3_moe",
        "num_hidden_layers": 8,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "vocab_size": 2048,
        "moe_intermediate_size": 128,
        "num_experts": 16,
        "num_experts_per_tok": 2,
        "norm_topk_prob": True,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
    }
    (path / "config.json").write_text(json.dumps(config))
    torch.manual_seed(2)
    tensors = {name: torch.randn(size) for name, size in hf.hf_shapes(read_shape(config)).items()}
    save_file(tensors, path / "model.safetensors")
    return path


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Every layout, or those of the short form."""
    return slow_selected(request)


@pytest.fixture(scope="session")
def on_ranks(moe: Reference, others: dict[str, Reference], large: Path, whole: bool) -> dict[int, list[dict[str, Any]]]:
    """World size -> what each rank of it returned: one launch for all models and layouts."""
    references = {"moe": moe, **others}
    found = {}
    for ranks in RANKS:
        models = {
            name: (
                reference.path,
                reference.samples,
                [case.arguments for case in computed_for(name, whole) if case.ranks == ranks],
                STEPS if name == "moe" else 0,
            )
            for name, reference in references.items()
        }
        found[ranks] = launch(
            Path(__file__).with_name("workers.py"),
            "compare_models",
            ranks,
            timeout=900,
            models=models,
            balanced=balanced_for(ranks, whole),
            large=large,
            streamed=[case.layout for case in (STREAMED if whole else SHORT_STREAMED) if case.ranks == ranks],
        )
    return found


@pytest.fixture(scope="session")
def parity(on_ranks: dict[int, list[dict[str, Any]]], whole: bool) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(checkpoint, case) -> what each rank returned."""
    found = {}
    for ranks, returned in on_ranks.items():
        for name in returned[0]["models"]:
            cases = [case for case in computed_for(name, whole) if case.ranks == ranks]
            for i, case in enumerate(cases):
                found[name, str(case)] = [rank["models"][name][i] for rank in returned]
    return found


def _shake(model: Any) -> None:
    """Norm weights start at one and biases at zero, where one that is swapped or dropped would not show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
