"""What of an engine can be read back by Hugging Face names."""

from __future__ import annotations

import torch

from pivot.rollout.readback import read_weights

SHAPES = {
    "model.layers.0.self_attn.q_proj.weight": (8, 4),
    "model.layers.0.self_attn.k_proj.weight": (2, 4),
    "model.layers.0.self_attn.v_proj.weight": (2, 4),
    "model.layers.0.self_attn.o_proj.weight": (4, 8),
    "model.layers.0.mlp.gate_proj.weight": (6, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.layers.0.mlp.experts.0.gate_proj.weight": (6, 4),
    "model.norm.weight": (4,),
    "lm_head.weight": (10, 4),
}


class Model(torch.nn.Module):
    """The names that vLLM gives."""

    def __init__(self, **sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def named_parameters(self, *_: object, **__: object) -> object:  # type: ignore[override]
        for name, size in self.sizes.items():
            yield name.replace("__", "."), torch.nn.Parameter(torch.arange(float(torch.Size(size).numel())).view(size))


def test_fused_matrices_are_taken_apart() -> None:
    model = Model(
        model__layers__0__self_attn__qkv_proj__weight=(12, 4),
        model__layers__0__mlp__gate_up_proj__weight=(12, 4),
        model__norm__weight=(4,),
        lm_head__weight=(10, 4),
    )
    found = dict(read_weights(model, SHAPES))
    assert found.keys() == SHAPES.keys() - {
        "model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.experts.0.gate_proj.weight"
    }  # fmt: skip
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {name: SHAPES[name] for name in found}
    assert found["model.layers.0.self_attn.k_proj.weight"][0, 0] == 32
    assert found["model.layers.0.self_attn.v_proj.weight"][0, 0] == 40
    assert found["model.layers.0.mlp.up_proj.weight"][0, 0] == 24


def test_slices_and_packed_matrices_are_left_out() -> None:
    model = Model(
        model__layers__0__self_attn__qkv_proj__weight=(6, 4),
        model__layers__0__mlp__gate_up_proj__weight=(0,),
        model__norm__weight=(4,),
        lm_head__weight=(5, 4),
    )
    assert list(dict(read_weights(model, SHAPES))) == ["model.norm.weight"]
