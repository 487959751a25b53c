"""Experts as one grouped GEMM, as on CUDA: the names of their weights, and that Megatron's sources have them so."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core import parallel_state
from megatron.core.extensions import transformer_engine, transformer_engine_spec_provider
from megatron.core.models.gpt import gpt_layer_specs
from megatron.core.transformer.moe.experts import TEGroupedMLP
from safetensors.torch import load_file, save_file

from pivot.layout import Layout
from pivot.policy import Policy, hf, initialize, spec
from pivot.policy.balance import Balance, BalancedRouter
from pivot.policy.model import transformer_config
from pivot.policy.release import moe_submodules
from pivot.shape import Shape, read_shape

CONFIG: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 32,
    "moe_intermediate_size": 8,
    "num_experts": 12,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}


class GroupedLinear(torch.nn.Module):
    """The weights of Transformer Engine's GroupedLinear: weight0, weight1, …"""

    def __init__(self, linears: list[Any]) -> None:
        super().__init__()
        for i, linear in enumerate(linears):
            self.register_parameter(f"weight{i}", torch.nn.Parameter(torch.zeros_like(linear.weight)))


class Grouped(torch.nn.Module):
    """The weights of Megatron's TEGroupedMLP."""

    def __init__(self, experts: Any) -> None:
        super().__init__()
        self.linear_fc1 = GroupedLinear([expert.linear_fc1 for expert in experts.local_experts])
        self.linear_fc2 = GroupedLinear([expert.linear_fc2 for expert in experts.local_experts])


@pytest.fixture
def chunk(tmp_path: Path) -> tuple[Any, Shape]:
    """A model chunk whose experts are grouped, its checkpoint in ``tmp_path``."""
    initialize(Layout(), seed=0)
    shape = read_shape(CONFIG)
    torch.manual_seed(0)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file({name: torch.randn(size) for name, size in hf.hf_shapes(shape).items()}, tmp_path / "model.safetensors")
    (model,) = Policy.from_hf(tmp_path, Layout(), optimizer=None)._models
    mlp: Any = model.decoder.layers[0].mlp
    mlp.experts = Grouped(mlp.experts)
    return model, shape


def test_grouped_experts_go_in_and_out_bit_for_bit(chunk: tuple[Any, Shape], tmp_path: Path) -> None:
    model, shape = chunk
    hf.load(tmp_path, [model], shape)
    files = load_file(tmp_path / "model.safetensors")
    experts = model.decoder.layers[0].mlp.experts
    assert torch.equal(experts.linear_fc2.weight11, files["model.layers.0.mlp.experts.11.down_proj.weight"])
    exported = dict(hf.export([model], shape, torch.float32))
    assert exported.keys() == files.keys()
    assert all(torch.equal(exported[name], files[name]) for name in files)


def test_grouped_experts_of_a_later_rank_have_later_numbers(
    chunk: tuple[Any, Shape], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shape = chunk
    monkeypatch.setattr(parallel_state, "get_expert_model_parallel_rank", lambda: 2)
    monkeypatch.setattr(model.config, "expert_model_parallel_size", 3)
    found = {place.expert for place, _ in hf.local_parameters([model], shape) if place.expert is not None}
    assert found == set(range(8, 20))  # 12 weights here, behind those of two ranks with 4 each


def test_megatron_names_the_weights_so() -> None:
    source = inspect.getsource(TEGroupedMLP.__init__)
    for name in ("linear_fc1", "linear_fc2"):
        assert f"self.{name} = " in source
    assert 'f"{prefix}weight{gemm_idx}": sub_sd[f"{gemm_idx}.weight"]' in inspect.getsource(transformer_engine)


@pytest.mark.parametrize("coefficient", [0.0, 0.1])
def test_on_cuda_the_layer_has_grouped_experts(monkeypatch: pytest.MonkeyPatch, coefficient: float) -> None:
    """The specification only: nothing of it can be built without Transformer Engine."""
    initialize(Layout(), seed=0)
    config = transformer_config(read_shape(CONFIG), Layout(), torch.float32, None, {}, aux_loss=coefficient)
    assert config.moe_grouped_gemm is spec.grouped_gemm()
    config.moe_grouped_gemm = True
    find = importlib.util.find_spec
    provider = transformer_engine_spec_provider.TESpecProvider
    monkeypatch.setattr(gpt_layer_specs, "TESpecProvider", provider, raising=False)  # imported only with the engine
    for module in (gpt_layer_specs, transformer_engine_spec_provider):
        monkeypatch.setattr(module, "is_te_min_version", lambda *_: True, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if "engine" in name else find(name))
    for name in ("TEColumnParallelGroupedLinear", "TERowParallelGroupedLinear"):
        monkeypatch.setattr(transformer_engine_spec_provider, name, GroupedLinear)
    (layer,) = spec.block_spec(config, None, Balance(coefficient)).layer_specs
    parts = moe_submodules(layer)
    experts = parts.experts
    if isinstance(experts, functools.partial):  # 0.19.2
        kind, linears = experts.func, experts.keywords["submodules"]
    else:
        kind, linears = experts.module, experts.submodules
    assert kind is TEGroupedMLP
    assert linears.linear_fc1 is GroupedLinear
    assert (getattr(parts.router, "func", None) is BalancedRouter) == (coefficient > 0)
