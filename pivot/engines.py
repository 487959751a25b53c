"""The colocated engine that a configuration asks for, and how it samples."""

from typing import Any

from pivot import ranks
from pivot.config import RolloutSection
from pivot.rollout import Engine, Placement, Sampling


def open_engine(model_path: str, dtype: str, rollout: RolloutSection, **options: Any) -> Engine:
    """This rank's engine, or its part of one; collective.

    Args:
        model_path: Hugging Face checkpoint directory.
        dtype: of weights and KV cache.
        rollout: its section of the configuration.
        options: what the program needs besides, see `Engine`.

    Raises:
        UserError: replicas that do not fit the ranks, or what `Engine` refuses.
    """
    placement = Placement.of(ranks.rank(), ranks.size(), tensor=rollout.tensor, expert_parallel=rollout.expert_parallel)
    return Engine(
        model_path,
        placement=placement,
        dtype=dtype,
        cuda_graphs=rollout.cuda_graphs,
        max_model_len=rollout.max_model_len,
        max_num_seqs=rollout.max_num_seqs,
        kv_cache_bytes=rollout.kv_cache_mb << 20,
        **options,
    )


def sampling(rollout: RolloutSection) -> Sampling:
    """How completions are drawn."""
    return Sampling(rollout.temperature, rollout.top_p, rollout.max_tokens)
