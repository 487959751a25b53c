"""vLLM's own loaders, fed tensors of which only what `needs` says is there: everything else is not a number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from pivot.rollout import prepare_environment

prepare_environment()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot.swap.needs import EngineShape, needs  # noqa: E402

HIDDEN, HEADS, KV, HEAD, INNER, VOCAB, EXPERTS = 64, 8, 4, 16, 96, 500, 6
SHAPES = {
    "q_proj.weight": (HEADS * HEAD, HIDDEN),
    "k_proj.weight": (KV * HEAD, HIDDEN),
    "v_proj.weight": (KV * HEAD, HIDDEN),
    "o_proj.weight": (HIDDEN, HEADS * HEAD),
    "mlp.gate_proj.weight": (INNER, HIDDEN),
    "mlp.up_proj.weight": (INNER, HIDDEN),
    "mlp.down_proj.weight": (HIDDEN, INNER),
    "embed_tokens.weight": (VOCAB, HIDDEN),
    "lm_head.weight": (VOCAB, HIDDEN),
    **{f"mlp.experts.{e}.gate_proj.weight": (INNER, HIDDEN) for e in range(EXPERTS)},
    **{f"mlp.experts.{e}.up_proj.weight": (INNER, HIDDEN) for e in range(EXPERTS)},
    **{f"mlp.experts.{e}.down_proj.weight": (HIDDEN, INNER) for e in range(EXPERTS)},
}


def loaders() -> dict[str, Any]:
    """For each engine size and rank: which tensors a loader read outside of the need, or the need exceeds."""
    found: dict[str, Any] = {"outside": [], "loaded": 0}
    for tensor in (1, 2, 4, 8):
        for rank in range(tensor):
            for name, shape in SHAPES.items():
                if ".experts." in name:
                    continue
                region = needs({name: shape}, EngineShape(tensor, False, KV, EXPERTS), rank).get(name)
                full = torch.full(shape, float("nan"))
                count = 0
                if region is not None:
                    full[region.slices] = torch.rand(region.shape)
                    count = region.numel
                taken = _load(name, full, tensor, rank)
                found["loaded"] += 1
                if bool(taken.isnan().any()) or taken.numel() != count:
                    found["outside"].append((name, tensor, rank, taken.numel(), count))
    found["experts"] = _experts()
    return found


def _load(name: str, full: Tensor, tensor: int, rank: int) -> Tensor:
    """What vLLM takes of a full tensor on a rank, of a parameter as its layers make them."""
    if "embed" in name or "lm_head" in name:
        from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding, pad_vocab_size

        padded = pad_vocab_size(VOCAB)
        at = VocabParallelEmbedding._get_indices(padded, padded, VOCAB, VOCAB, rank, tensor)
        return full[at.org_vocab_start_index : at.org_vocab_end_index]
    from vllm.model_executor import parameter

    with (
        patch.object(parameter, "get_tensor_model_parallel_rank", lambda: rank),
        patch.object(parameter, "get_tensor_model_parallel_world_size", lambda: tensor),
    ):
        shard = {"q": HEADS * HEAD // tensor, "k": max(1, KV // tensor) * HEAD, "v": max(1, KV // tensor) * HEAD}
        kind = name.split(".")[-2]
        if kind[0] in shard:
            rows = shard[kind[0]]
            made = _parameter(parameter.ModelWeightParameter, (rows, HIDDEN))
            copies = max(1, tensor // KV)
            made.load_qkv_weight(full, shard_id=kind[0], shard_offset=0, shard_size=rows, num_heads=copies)
        elif kind in ("gate_proj", "up_proj"):
            rows = INNER // tensor
            made = _parameter(parameter.ModelWeightParameter, (rows, HIDDEN))
            made.load_merged_column_weight(full, shard_offset=0, shard_size=rows)
        else:
            made = _parameter(parameter.ModelWeightParameter, (full.shape[0], full.shape[1] // tensor))
            made.load_row_parallel_weight(full)
        return made.data


def _parameter(kind: Any, shape: tuple[int, ...]) -> Any:
    return kind(data=torch.zeros(shape), input_dim=1, output_dim=0, weight_loader=lambda *_: None)


def _experts() -> list[tuple[str, int, int]]:
    """Slices of experts under tensor parallelism, whole experts under expert parallelism."""
    from vllm.model_executor.layers.fused_moe.expert_map_manager import determine_expert_map
    from vllm.model_executor.layers.fused_moe.routed_experts import RoutedExperts

    wrong = []
    for tensor in (2, 4):
        for rank in range(tensor):
            engine = EngineShape(tensor, False, KV, EXPERTS)
            config = SimpleNamespace(is_act_and_mul=True, moe_parallel_config=SimpleNamespace(tp_size=tensor))
            layer = SimpleNamespace(
                moe_config=config,
                _get_hidden_dim=RoutedExperts._get_hidden_dim,
                _narrow_expert_data_for_padding=RoutedExperts._narrow_expert_data_for_padding,
            )
            for part, shard in (("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")):
                name = f"mlp.experts.0.{part}.weight"
                region = needs({name: SHAPES[name]}, engine, rank)[name]
                full = torch.full(SHAPES[name], float("nan"))
                full[region.slices] = 1.0
                if shard == "w2":
                    into = torch.zeros(HIDDEN, INNER // tensor)
                    RoutedExperts._load_w2(layer, into, 1, full, rank)
                else:
                    into = torch.zeros(2 * INNER // tensor, HIDDEN)
                    RoutedExperts._load_w13(layer, into, 0, shard, full, rank)
                if bool(into.isnan().any()) or int(into.sum()) != region.numel:
                    wrong.append((name, tensor, rank))
            _, table, _ = determine_expert_map(tensor, rank, EXPERTS)
            mine = [e for e in range(EXPERTS) if table is not None and int(table[e]) >= 0]
            asked = needs(SHAPES, EngineShape(tensor, True, KV, EXPERTS), rank)
            if mine != [e for e in range(EXPERTS) if f"mlp.experts.{e}.up_proj.weight" in asked]:
                wrong.append((f"experts {mine}", tensor, rank))
    return wrong
