"""Kinds and names of parameters, what rules make of them, and the fields that offloading passes to Megatron."""

from __future__ import annotations

import dataclasses
import inspect
import typing

import pytest
import torch

from pivot.errors import UserError
from pivot.policy.kinds import KINDS, kind_of, whole_name
from pivot.policy.optimizer import OptimizerSettings, Rule, multipliers, offload_options

OFFLOADED = OptimizerSettings(distributed=True, offload=0.75)


@pytest.mark.parametrize(
    ("local", "offset", "whole", "kind"),
    [
        ("embedding.word_embeddings.weight", 0, "embedding.word_embeddings.weight", "embedding"),
        ("output_layer.weight", 2, "output_layer.weight", "head"),
        ("decoder.final_layernorm.weight", 2, "decoder.final_layernorm.weight", "norm"),
        ("decoder.layers.1.input_layernorm.weight", 2, "decoder.layers.3.input_layernorm.weight", "norm"),
        ("decoder.layers.0.self_attention.q_layernorm.weight", 0, None, "norm"),
        ("decoder.layers.0.self_attention.linear_qkv.layer_norm_weight", 0, None, "norm"),
        ("decoder.layers.0.mlp.linear_fc1.layer_norm_weight", 0, None, "norm"),
        (
            "decoder.layers.0.self_attention.linear_qkv.weight",
            9,
            "decoder.layers.9.self_attention.linear_qkv.weight",
            "attention",
        ),
        ("decoder.layers.0.self_attention.linear_proj.weight", 0, None, "attention"),
        ("decoder.layers.0.mlp.linear_fc2.weight", 0, None, "mlp"),
        ("decoder.layers.0.mlp.shared_experts.linear_fc1.weight", 0, None, "mlp"),
        ("decoder.layers.0.mlp.router.weight", 0, None, "router"),
        (
            "decoder.layers.1.mlp.experts.local_experts.12.linear_fc1.weight",
            4,
            "decoder.layers.5.mlp.experts.linear_fc1.weight",
            "experts",
        ),
        (
            "decoder.layers.1.mlp.experts.linear_fc2.weight12",
            0,
            "decoder.layers.1.mlp.experts.linear_fc2.weight",
            "experts",
        ),
        ("vision.patches.weight", 0, None, "other"),
    ],
)
def test_names_in_the_whole_model_and_kinds(local: str, offset: int, whole: str | None, kind: str) -> None:
    assert whole_name(local, offset, tied=False) == (whole or local)
    assert kind_of(whole or local) == kind
    assert kind in KINDS


def test_the_copy_of_a_tied_embedding_is_the_embedding() -> None:
    assert whole_name("output_layer.weight", 3, tied=True) == "embedding.word_embeddings.weight"


LAYER = "decoder.layers.3.self_attention.linear_qkv.weight"


@pytest.mark.parametrize(
    ("name", "dimensions", "rules", "expected"),
    [
        (LAYER, 2, [], (1.0, 1.0)),
        (LAYER, 1, [], (1.0, 0.0)),
        (LAYER, 2, [Rule("attention", lr=0.5)], (0.5, 1.0)),
        (LAYER, 2, [Rule("mlp", lr=0.5)], (1.0, 1.0)),
        (LAYER, 2, [Rule("decoder.layers.3.*", weight_decay=0.0)], (1.0, 0.0)),
        (LAYER, 2, [Rule("decoder.layers.31.*", weight_decay=0.0)], (1.0, 1.0)),
        (LAYER, 2, [Rule("attention", lr=0.5, weight_decay=3.0), Rule("*qkv*", lr=0.0)], (0.0, 3.0)),
        (LAYER, 2, [Rule("*qkv*", lr=0.0), Rule("attention", lr=0.5)], (0.5, 1.0)),
        ("decoder.final_layernorm.weight", 1, [Rule("norm", lr=2.0)], (2.0, 0.0)),
        ("decoder.final_layernorm.weight", 1, [Rule("norm", weight_decay=1.0)], (1.0, 1.0)),
    ],
)
def test_the_last_rule_that_sets_a_multiplier_wins(
    name: str, dimensions: int, rules: list[Rule], expected: tuple[float, float]
) -> None:
    assert multipliers(name, dimensions, rules) == expected


@pytest.mark.parametrize(
    ("settings", "dtype", "cuda", "message"),
    [
        (OFFLOADED, torch.bfloat16, False, "there is no CUDA device, so the optimizer state is in host memory already"),
        (dataclasses.replace(OFFLOADED, distributed=False), torch.bfloat16, True, r"set optimizer\.distributed=true"),
        (OFFLOADED, torch.float32, True, r"it needs bf16 parameters: set model\.dtype=bfloat16"),
    ],
)
def test_offloading_is_refused_where_it_cannot_work(
    settings: OptimizerSettings, dtype: torch.dtype, cuda: bool, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        offload_options(settings, dtype, cuda=cuda)


def test_megatron_has_what_offloading_is_asked_for_with() -> None:
    from megatron.core.optimizer import OptimizerConfig
    from megatron.core.optimizer.cpu_offloading import HybridDeviceOptimizer

    assert offload_options(OptimizerSettings(), torch.float32, cuda=False) == {}
    options = offload_options(OFFLOADED, torch.bfloat16, cuda=True)
    assert options["optimizer_offload_fraction"] == 0.75
    hints = typing.get_type_hints(OptimizerConfig)  # without Transformer Engine the object itself cannot be made
    assert {name: type(value) for name, value in options.items()} == {name: hints[name] for name in options}
    assert OptimizerConfig().decoupled_weight_decay
    assert {"offload_fraction", "overlap_cpu_optimizer_d2h_h2d", "param_update_in_fp32"} <= set(
        inspect.signature(HybridDeviceOptimizer).parameters
    )
