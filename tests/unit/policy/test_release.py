"""Both forms in which releases of Megatron describe a layer, whichever is installed."""

from __future__ import annotations

import functools
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.moe.experts import SequentialMLP
from megatron.core.transformer.moe.moe_layer import MoELayer, MoESubmodules
from megatron.core.transformer.spec_utils import ModuleSpec

from pivot.policy.release import moe_submodules, no_cuda_graphs, of_class
from pivot.policy.spec import Experts


def layer_of(mlp: Any) -> Any:
    return ModuleSpec(module=object, submodules=SimpleNamespace(mlp=mlp))


def test_a_partial_call_keeps_what_it_was_given() -> None:
    inner = object()
    parts = MoESubmodules(experts=functools.partial(SequentialMLP, submodules=inner))
    found = moe_submodules(layer_of(functools.partial(MoELayer, submodules=parts)))
    assert found is parts
    changed = of_class(Experts, found.experts)
    assert (changed.func, changed.keywords) == (Experts, {"submodules": inner})


def test_a_module_spec_keeps_what_it_was_given() -> None:
    inner = object()
    parts = MoESubmodules(experts=ModuleSpec(module=SequentialMLP, submodules=inner))
    found = moe_submodules(layer_of(ModuleSpec(module=MoELayer, submodules=parts)))
    assert found is parts
    assert of_class(Experts, found.experts) == ModuleSpec(module=Experts, submodules=inner)


def test_a_layer_without_experts_is_an_error() -> None:
    with pytest.raises(TypeError, match="is made of SimpleNamespace, not MoESubmodules"):
        moe_submodules(layer_of(ModuleSpec(module=object, submodules=SimpleNamespace())))


def test_no_cuda_graphs_is_said_without_a_deprecated_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        config = TransformerConfig(num_layers=1, hidden_size=8, num_attention_heads=1, **no_cuda_graphs())
    assert [getattr(config, name) for name in no_cuda_graphs()] == [[]]
