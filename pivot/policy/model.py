"""From a Hugging Face configuration to this rank's Megatron model chunks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.transformer import TransformerConfig

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import spec
from pivot.policy.attention import PackRotary
from pivot.policy.balance import Balance
from pivot.policy.head import ScoringHead
from pivot.policy.release import no_cuda_graphs

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
    file = path / "config.json"
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


def transformer_config(
    shape: Shape,
    layout: Layout,
    dtype: torch.dtype,
    recompute: str | None,
    more: Mapping[str, Any],
    *,
    aux_loss: float = 0.0,
) -> TransformerConfig:
    """Megatron's configuration for ``shape`` under ``layout`` with parameters in ``dtype``.

    Args:
        shape: the numbers of the model.
        layout: the parallel sizes, already initialised.
        dtype: torch.float32 or torch.bfloat16.
        recompute: None, "selective" (attention) or "full" (every layer).
        more: fields of the precision.
        aux_loss: coefficient of the load-balancing loss; 0 for none.
    """
    if dtype not in (torch.float32, torch.bfloat16):
        raise UserError(f"policy dtype {dtype} is not supported: use float32 or bfloat16")
    return TransformerConfig(
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        num_attention_heads=shape.heads,
        num_query_groups=shape.groups,
        kv_channels=shape.head,
        ffn_hidden_size=shape.inner,
        normalization="RMSNorm",
        layernorm_epsilon=shape.eps,
        gated_linear_unit=True,
        activation_func=F.silu,
        add_bias_linear=False,
        add_qkv_bias=shape.qkv_bias,
        qk_layernorm=shape.qk_norm,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype is torch.bfloat16,
        # CPU initialisation is not the same in every layout (under EP2 expert 4 clones expert 0): weights are
        # always loaded in full afterwards
        use_cpu_initialization=not torch.cuda.is_available(),
        masked_softmax_fusion=False,
        bias_dropout_fusion=False,
        gradient_accumulation_fusion=False,
        batch_p2p_comm=False,
        variable_seq_lengths=True,
        moe_token_dispatcher_type="alltoall",  # the default refuses variable lengths, even without experts
        # gradient = sum of the losses: DDP does not average, and policy.py passes no token count to divide by
        calculate_per_token_loss=True,
        **no_cuda_graphs(),
        **_layout_options(shape, layout),
        **_moe_options(shape, aux_loss),
        **recompute_options(recompute),
        **more,
    )


def _layout_options(shape: Shape, layout: Layout) -> dict[str, Any]:
    return {
        "tensor_model_parallel_size": layout.tensor,
        "pipeline_model_parallel_size": layout.pipeline,
        "virtual_pipeline_model_parallel_size": layout.virtual_pipeline,
        "expert_model_parallel_size": layout.expert,
        "expert_tensor_parallel_size": layout.expert_tensor,
        "context_parallel_size": layout.context,
        "sequence_parallel": layout.sequence_parallel(moe=bool(shape.experts)),
    }


def _moe_options(shape: Shape, aux_loss: float) -> dict[str, Any]:
    if not shape.experts:
        if aux_loss:
            raise UserError(f"model.router_aux_loss is {aux_loss}, but a {shape.family} model has no experts: set 0")
        return {}
    return {
        "num_moe_experts": shape.experts,
        "moe_router_topk": shape.topk,
        "moe_ffn_hidden_size": shape.inner,
        "moe_shared_expert_intermediate_size": shape.shared or None,
        "moe_shared_expert_gate": shape.shared > 0,
        "moe_grouped_gemm": spec.grouped_gemm(),
        # routing is trained only where the caller unfreezes it, and then by default without a loss of its own
        "moe_router_load_balancing_type": "aux_loss" if aux_loss else "none",
        "moe_aux_loss_coeff": aux_loss,
        "moe_router_enable_expert_bias": False,
        "moe_router_dtype": "fp32",
        # softmax before the choice = probabilities that are not renormalised over the chosen experts
        "moe_router_pre_softmax": not shape.renormalise,
    }


def recompute_options(recompute: str | None) -> dict[str, Any]:
    if recompute is None:
        return {}
    if recompute == "full":
        return {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1}
    if recompute == "selective":
        return {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]}
    raise UserError(f"recompute {recompute!r} is unknown: use selective, full or nothing")


def build_chunks(
    shape: Shape, config: TransformerConfig, *, freeze_router: bool, balance: Balance
) -> tuple[list[GPTModel], ScoringHead]:
    """This rank's model chunks (one without interleaving), unwrapped, with weights that mean nothing."""
    chunks = []
    head = ScoringHead(config.sequence_parallel)
    stages = config.virtual_pipeline_model_parallel_size
    for chunk in range(stages or 1):
        stage = chunk if stages else None
        plain = {"ignore_virtual": stages is None, "vp_stage": stage}
        model = GPTModel(
            config,
            spec.block_spec(config, stage, balance),
            vocab_size=shape.vocab,
            max_sequence_length=shape.positions,
            pre_process=parallel_state.is_pipeline_first_stage(**plain),
            post_process=parallel_state.is_pipeline_last_stage(**plain),
            share_embeddings_and_output_weights=shape.tied,
            position_embedding_type="rope",
            rotary_base=shape.rope_theta,
            vp_stage=stage,
        )
        model.rotary_pos_emb = PackRotary(shape.head, rotary_percent=1.0, rotary_base=shape.rope_theta)
        if model.post_process:
            head.install(model)
        mark_parameters(model, freeze_router)
        chunks.append(model.to(torch.cuda.current_device()))
    return chunks, head


def mark_parameters(model: GPTModel, freeze_router: bool) -> None:
    """Sets what Megatron's DDP and optimizer read; must run before DDP wraps the model.

    tensor_parallel/layers.py:886, 1209 of 0.16.1 derive ``allreduce`` from expert parallelism alone: with
    tensor 2, expert 1, expert_tensor 1 every tensor rank would train its own copy of the experts on its own
    tokens. Marked in every layout, so that optimizers, and with them checkpoints, are cut the same way in all
    of them.
    """
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            parameter.allreduce = False
        if freeze_router and name.endswith("mlp.router.weight"):
            parameter.requires_grad_(False)
