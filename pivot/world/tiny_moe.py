"""The tiny Qwen3-MoE that the embedded world trains: its shape, and a random checkpoint to start from."""

from pathlib import Path

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from pivot.world.corpus import make_tokenizer
from pivot.world.tokenizer import VOCABULARY

SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "initializer_range": 0.06,  # with the usual 0.02 so small a model learns to copy several times later
}
"""About 2.1 million parameters, a third of them used by a token."""


def write_random_checkpoint(directory: Path, seed: int) -> int:
    """Write a Hugging Face checkpoint with random weights and the world's tokenizer.

    Args:
        directory: where; made when missing.
        seed: of the weights and of the corpus that the tokenizer learns from.

    Returns:
        Number of parameters.
    """
    tokenizer = make_tokenizer(seed)
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        bos_token_id=None,
        **SHAPE,
    )
    torch.manual_seed(seed)
    model = Qwen3MoeForCausalLM(config).to(torch.float32)
    directory.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return sum(parameter.numel() for parameter in model.parameters())
