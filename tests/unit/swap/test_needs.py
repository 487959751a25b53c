"""What an engine's rank needs of each tensor; tests/parity holds it against vLLM's own loaders."""

from __future__ import annotations

import pytest

from benchmarks.swap_layouts import QWEN3_30B, shape
from pivot.policy.hf import hf_shapes
from pivot.region import Region
from pivot.swap import SwapError
from pivot.swap.needs import EngineShape, experts_of, needs

SHAPES = hf_shapes(shape(QWEN3_30B))
LAYER = "model.layers.7."


def test_an_engine_alone_needs_everything() -> None:
    found = needs(SHAPES, EngineShape(), 0)
    assert found == {name: Region.whole(size) for name, size in SHAPES.items()}


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("model.embed_tokens.weight", ((56976, 75968), (0, 2048))),
        ("lm_head.weight", ((56976, 75968), (0, 2048))),
        ("model.norm.weight", ((0, 2048),)),
        (LAYER + "self_attn.q_proj.weight", ((1536, 2048), (0, 2048))),
        (LAYER + "self_attn.k_proj.weight", ((128, 256), (0, 2048))),  # the second of four heads, for ranks 2 and 3
        (LAYER + "self_attn.o_proj.weight", ((0, 2048), (1536, 2048))),
        (LAYER + "self_attn.q_norm.weight", ((0, 128),)),
        (LAYER + "mlp.gate.weight", ((0, 128), (0, 2048))),
        (LAYER + "mlp.experts.90.gate_proj.weight", ((288, 384), (0, 2048))),
        (LAYER + "mlp.experts.90.down_proj.weight", ((0, 2048), (288, 384))),
    ],
)
def test_rank_three_of_eight(name: str, bounds: tuple[tuple[int, int], ...]) -> None:
    assert needs({name: SHAPES[name]}, EngineShape(8, False, 4, 128), 3) == {name: Region(bounds)}


def test_ranks_of_an_engine_need_all_of_it_between_them() -> None:
    for engine in (EngineShape(4, False, 4, 128), EngineShape(4, True, 4, 128)):
        parts = [needs(SHAPES, engine, rank) for rank in range(4)]
        for name, size in SHAPES.items():
            regions = {part[name] for part in parts if name in part}
            assert sum(region.numel for region in regions) == Region.whole(size).numel, name


def test_expert_parallel_ranks_need_their_own_experts_whole() -> None:
    found = needs(SHAPES, EngineShape(8, True, 4, 128), 7)
    mine = {int(name.split(".")[5]) for name in found if ".experts." in name}
    assert mine == set(range(112, 128))
    assert found[LAYER + "mlp.experts.112.up_proj.weight"] == Region.whole((768, 2048))
    assert [experts_of(10, 4, rank) for rank in range(4)] == [(0, 3), (3, 3), (6, 2), (8, 2)]


def test_a_vocabulary_is_padded_before_it_is_cut() -> None:
    sizes = {"lm_head.weight": (500, 8)}  # padded to 512
    found = [needs(sizes, EngineShape(4), rank)["lm_head.weight"].bounds[0] for rank in range(4)]
    assert found == [(0, 128), (128, 256), (256, 384), (384, 500)]
    small = [needs({"lm_head.weight": (40, 8)}, EngineShape(4), rank) for rank in range(4)]  # padded to 64
    assert [list(part) for part in small] == [["lm_head.weight"]] * 3 + [[]]


def test_biases_and_other_names() -> None:
    sizes = {
        "a.q_proj.bias": (64,),
        "a.k_proj.bias": (32,),
        "a.shared_expert.down_proj.weight": (8, 64),
        "a.shared_expert_gate.weight": (1, 8),
        "a.experts.1.w1.weight": (64, 8),
        "a.experts.1.w2.weight": (8, 64),
        "a.o_proj.bias": (8,),
    }
    found = needs(sizes, EngineShape(2, False, 2, 4), 1)
    assert [region.bounds for region in found.values()] == [
        ((32, 64),), ((16, 32),), ((0, 8), (32, 64)), ((0, 1), (0, 8)), ((32, 64), (0, 8)), ((0, 8), (32, 64)),
        ((0, 8),),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "size", "engine", "said"),
    [
        ("a.q_proj.weight", (30, 8), EngineShape(4), r"a\.q_proj\.weight: 30 do not divide into 4 equal parts"),
        ("a.k_proj.weight", (48, 8), EngineShape(4, False, 6), "6 key/value heads do not fit an engine of 4 ranks"),
    ],
)
def test_what_does_not_divide_is_named(name: str, size: tuple[int, int], engine: EngineShape, said: str) -> None:
    with pytest.raises(SwapError, match=said):
        needs({name: size}, engine, 0)
