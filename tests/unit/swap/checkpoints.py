"""Names and shapes of checkpoints, and the modules that vLLM makes of them."""

from __future__ import annotations

Shapes = list[tuple[str, tuple[int, ...]]]


def qwen3_moe(
    *, layers: int, hidden: int, experts: int, inner: int, heads: int, groups: int, head: int, vocab: int
) -> Shapes:
    """An untied Qwen3-MoE with a norm of queries and keys."""
    shapes: Shapes = [("model.embed_tokens.weight", (vocab, hidden))]
    for layer in range(layers):
        at = f"model.layers.{layer}"
        shapes += [
            (f"{at}.input_layernorm.weight", (hidden,)),
            (f"{at}.self_attn.q_proj.weight", (heads * head, hidden)),
            (f"{at}.self_attn.k_proj.weight", (groups * head, hidden)),
            (f"{at}.self_attn.v_proj.weight", (groups * head, hidden)),
            (f"{at}.self_attn.o_proj.weight", (hidden, heads * head)),
            (f"{at}.self_attn.q_norm.weight", (head,)),
            (f"{at}.self_attn.k_norm.weight", (head,)),
            (f"{at}.post_attention_layernorm.weight", (hidden,)),
            (f"{at}.mlp.gate.weight", (experts, hidden)),
        ]
        for expert in range(experts):
            part = f"{at}.mlp.experts.{expert}"
            shapes += [
                (f"{part}.gate_proj.weight", (inner, hidden)),
                (f"{part}.up_proj.weight", (inner, hidden)),
                (f"{part}.down_proj.weight", (hidden, inner)),
            ]
    return [*shapes, ("model.norm.weight", (hidden,)), ("lm_head.weight", (vocab, hidden))]


def qwen3_30b_a3b() -> Shapes:
    """Qwen3-30B-A3B, by its published config.json."""
    return qwen3_moe(
        layers=48, hidden=2048, experts=128, inner=768, heads=32, groups=4, head=128, vocab=151936
    )  # fmt: skip


def small() -> Shapes:
    """A Qwen3-MoE of two layers."""
    return qwen3_moe(layers=2, hidden=64, experts=12, inner=32, heads=4, groups=2, head=16, vocab=100)


# (Hugging Face module, module in vLLM, whether it is quantised) of a layer of the families that are trained here
MODULES = {
    "qwen3_moe": [
        *((f"self_attn.{part}_proj", "self_attn.qkv_proj", True) for part in "qkv"),
        ("self_attn.o_proj", "self_attn.o_proj", True),
        ("mlp.gate", "mlp.gate", False),
        *((f"mlp.experts.{e}.{part}_proj", "mlp.experts", True) for e in (0, 11) for part in ("gate", "up", "down")),
    ],
    "qwen2_moe": [
        *((f"mlp.shared_expert.{part}_proj", "mlp.shared_expert.gate_up_proj", True) for part in ("gate", "up")),
        ("mlp.shared_expert.down_proj", "mlp.shared_expert.down_proj", True),
        ("mlp.shared_expert_gate", "mlp.shared_expert_gate", False),
        ("mlp.gate", "mlp.gate", False),
    ],
    "llama": [
        *((f"mlp.{part}_proj", "mlp.gate_up_proj", True) for part in ("gate", "up")),
        ("mlp.down_proj", "mlp.down_proj", True),
    ],
    "mixtral": [
        ("block_sparse_moe.gate", "block_sparse_moe.gate", False),
        *((f"block_sparse_moe.experts.3.w{part}", "block_sparse_moe.experts", True) for part in (1, 2, 3)),
    ],
}
