"""What ranks would hold in a layout, worked out without any ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from pivot.layout import Layout
from pivot.policy.hf import Kind, Place, part_shapes, places
from pivot.policy.hf_shards import cut
from pivot.region import Region
from pivot.shape import Shape, read_shape
from pivot.swap.held import Holding

TINY: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "vocab_size": 512,
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
}
DENSE = {key: value for key, value in TINY.items() if "expert" not in key and "moe" not in key} | {
    "model_type": "qwen3",
    "intermediate_size": 128,
}
# https://huggingface.co/Qwen/Qwen3-30B-A3B/blob/main/config.json
QWEN3_30B: dict[str, Any] = TINY | {
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151936,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
}


def shape(config: dict[str, Any] = TINY, **changed: Any) -> Shape:
    return read_shape(config | changed)


def holding(shape: Shape, layout: Layout, world: int, rank: int, dtype: torch.dtype = torch.float32) -> Holding:
    """What `rank` holds: tensor ranks run fastest, then data parallel, then stages, as Megatron orders them."""
    size = world // layout.pipeline
    stage, inside = divmod(rank, size)
    found: dict[str, tuple[tuple[Region, ...], torch.dtype]] = {}
    for place in _places(shape, layout, stage):
        if place.expert is not None:
            each = shape.experts // layout.expert
            if inside // layout.expert_tensor % layout.expert != place.expert // each:
                continue
            part, parts = inside % layout.expert_tensor, layout.expert_tensor
        else:
            part, parts = inside % layout.tensor, layout.tensor
        for name, region, view in cut(place, _local(place, shape, parts), shape, part, parts):
            assert tuple(view.shape) == region.shape
            found[name] = (*found.get(name, ((), dtype))[0], region), dtype
    return found


def _places(shape: Shape, layout: Layout, stage: int) -> Iterator[Place]:
    per = shape.layers // layout.pipeline
    for place in (place for group in places(shape) for place in group):
        if place.layer is not None:
            mine = place.layer // per == stage
        elif place.rule.megatron.startswith("embedding"):
            mine = stage == 0 or (shape.tied and stage == layout.pipeline - 1)
        else:
            mine = stage == layout.pipeline - 1
        if mine:
            yield place


def _local(place: Place, shape: Shape, parts: int) -> torch.Tensor:
    sizes = part_shapes(place, shape)
    rows, rest = sum(size[0] for size in sizes), sizes[0][1:]
    if place.rule.kind is Kind.COLUMNS:
        return torch.empty(rows, rest[0] // parts, device="meta")
    if place.rule.kind is Kind.WHOLE:
        parts = 1
    return torch.empty(rows // parts, *rest, device="meta")
