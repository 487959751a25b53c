"""The numbers of a model, from a Hugging Face ``config.json``, and whether a layout can cut it. No torch: read before
anything heavy, by who plans and by who builds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.layout import Layout

FAMILIES = ("qwen3_moe", "qwen3", "llama", "mixtral", "qwen2_moe", "qwen2")
EXPERTS = ("qwen3_moe", "mixtral", "qwen2_moe")


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a model, read from its ``config.json``; all sizes in elements."""

    family: str
    layers: int
    hidden: int
    heads: int
    groups: int
    head: int
    vocab: int
    inner: int
    experts: int
    topk: int
    renormalise: bool
    eps: float
    rope_theta: float
    tied: bool
    qk_norm: bool
    qkv_bias: bool
    shared: int  # inner size of the shared expert; 0: none
    positions: int


def pair_cost(shape: Shape) -> float:
    """What a query-key pair of attention costs in all layers, in units of what a token costs outside attention.

    By counting multiplications: two head features a pair and head, against the weights that a token meets.
    """
    q, kv, h = shape.heads * shape.head, shape.groups * shape.head, shape.hidden
    attention = h * (q + 2 * kv) + q * h
    return 2 * q / (attention + 3 * h * (shape.inner * (shape.topk or 1) + shape.shared))


def read_config(path: Path) -> dict[str, Any]:
    """``config.json`` of the checkpoint directory ``path``; UserError when it is missing or not JSON."""
    return read_json(path / "config.json")


def read_json(file: Path) -> dict[str, Any]:
    """A ``config.json``, whatever it is called; UserError when it is missing or not JSON."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{file} does not exist: name a Hugging Face checkpoint directory") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON ({error.msg})") from error
    return dict(config)


def read_shape(config: Mapping[str, Any]) -> Shape:
    """Checks that a Hugging Face configuration is one that this policy computes exactly, and reads its
    numbers.

    Raises:
        UserError: an unsupported family or feature, or a missing key, by name.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(f"config.json: model_type {family!r} is not supported, only {', '.join(FAMILIES)}")
    _refuse_features(config)
    moe = family in EXPERTS
    try:
        heads = config["num_attention_heads"]
        return Shape(
            family=family,
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            groups=config.get("num_key_value_heads") or heads,
            head=config.get("head_dim") or config["hidden_size"] // heads,
            vocab=config["vocab_size"],
            inner=config["moe_intermediate_size" if moe and family != "mixtral" else "intermediate_size"],
            # older files call it num_experts, newer ones num_local_experts
            experts=(config.get("num_experts") or config["num_local_experts"]) if moe else 0,
            topk=config["num_experts_per_tok"] if moe else 0,
            renormalise=family == "mixtral" or (moe and bool(config.get("norm_topk_prob", False))),
            eps=config["rms_norm_eps"],
            rope_theta=_rope_theta(config),
            tied=bool(config.get("tie_word_embeddings", False)),
            qk_norm=family in ("qwen3_moe", "qwen3"),
            qkv_bias=family in ("qwen2_moe", "qwen2"),
            shared=config["shared_expert_intermediate_size"] if family == "qwen2_moe" else 0,
            positions=config.get("max_position_embeddings", 4096),
        )
    except KeyError as error:
        raise UserError(f"config.json: key {error.args[0]!r} is missing") from error


def _refuse_features(config: Mapping[str, Any]) -> None:
    for key, plain in (
        ("attention_bias", (False, None)),
        ("mlp_bias", (False, None)),
        ("use_sliding_window", (False, None)),
        # Qwen writes a window that use_sliding_window switches off
        ("sliding_window", (config.get("sliding_window"),) if "use_sliding_window" in config else (None,)),
        ("attention_dropout", (0, 0.0, None)),
        ("hidden_act", ("silu",)),
        ("decoder_sparse_step", (1, None)),
        ("mlp_only_layers", ([], None)),
        ("pretraining_tp", (1, None)),
        ("qkv_bias", (True,)),
        ("router_jitter_noise", (0, 0.0, None)),
    ):
        if key in config and config[key] not in plain:
            raise UserError(f"config.json: {key} = {config[key]!r} is not supported, only {plain[0]!r}")


def _rope_theta(config: Mapping[str, Any]) -> float:
    """transformers 5 writes rope_parameters{rope_theta, rope_type}, older files rope_theta, rope_scaling."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise UserError(f"config.json: rope_type {kind!r} is not supported, only 'default'")
    theta = rope.get("rope_theta", config.get("rope_theta"))
    if theta is None:
        raise UserError("config.json: rope_theta is missing")
    return float(theta)


def check_layout(shape: Shape, layout: Layout) -> None:
    """Raises UserError, with the arithmetic, when the model cannot be cut as ``layout`` says."""
    chunks = layout.virtual_pipeline or 1
    stages = f"pipeline {layout.pipeline} x virtual_pipeline {chunks}" if chunks > 1 else "pipeline"
    inner_parts = layout.expert_tensor if shape.experts else layout.tensor
    for what, size, key, parts in (
        ("attention heads", shape.heads, "tensor", layout.tensor),
        ("key/value heads", shape.groups, "tensor", layout.tensor),
        ("vocabulary entries", shape.vocab, "tensor", layout.tensor),
        ("inner features", shape.inner, "expert_tensor" if shape.experts else "tensor", inner_parts),
        ("inner features of the shared expert", shape.shared, "tensor", layout.tensor),
        ("layers", shape.layers, stages, layout.pipeline * chunks),
    ):
        if size % parts:
            raise UserError(f"{size} {what} do not divide by parallel.{key} = {parts}: choose a divisor of {size}")
    if not shape.experts and (layout.expert > 1 or layout.expert_tensor > 1):
        raise UserError(f"parallel.expert is {layout.expert}, but a {shape.family} model has no experts: set 1")
    if shape.experts and shape.experts % layout.expert:
        raise UserError(f"{shape.experts} experts do not divide by parallel.expert = {layout.expert}")
