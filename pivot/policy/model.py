"""From a Hugging Face configuration to this rank's Megatron model chunks."""

from __future__ import annotations

from collections.abc import Mapping
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
from pivot.shape import Shape


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
