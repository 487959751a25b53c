"""The swap that fits a policy: by bucket where it says what it holds, else of full tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from pivot.swap.buckets import AS_THEY_ARE, BucketSwap, ShardSource, SwapSettings
from pivot.swap.keep import check_engine
from pivot.swap.manifest import Manifest
from pivot.swap.needs import EngineShape
from pivot.swap.push import Gathered, SwapStats, WeightSink, WeightSource


class Swap(Protocol):
    """The way of weights from one policy to the engine of this rank."""

    def push(self, engine: WeightSink, version: str) -> SwapStats:
        """The policy's weights of this moment into this rank's engine; collective."""
        ...

    def delivered(self) -> Iterator[tuple[str, Tensor]]:
        """What this rank's engine would be given now; collective."""
        ...

    def expected(self, name: str, full: Tensor) -> Tensor | None:
        """What should be delivered of a full tensor; None: nothing."""
        ...


class Source(ShardSource, WeightSource, Protocol):
    """What a swap of either kind needs of a policy.

    Attributes:
        hf_config: `config.json` of its checkpoint.
    """

    hf_config: dict[str, Any]


def open_swap(
    policy: Source,
    manifest: Manifest,
    settings: SwapSettings,
    tensor: int = 1,
    expert_parallel: bool = False,
    tensor_rank: int = 0,
    quantization: Mapping[str, Any] | None = None,
) -> Swap:
    """Collective.

    Args:
        policy: Source of the weights.
        manifest: What a complete set is.
        settings: Buckets, wire format, checks.
        tensor: Ranks that share the engine of this rank.
        expert_parallel: Whether those ranks hold whole experts.
        tensor_rank: This rank's place among them.
        quantization: `quantization_config` of the engine, where it loads FP8; None: it loads the policy's dtype.

    Raises:
        SwapError: the engine expects other tensors in FP8 than come so; or see `BucketSwap`.
    """
    gathered, loaded = policy.shards() is None, quantization is not None
    wire = replace(settings.wire, loaded=loaded) if loaded and not gathered else AS_THEY_ARE
    check_engine(manifest.shapes.items(), wire, quantization)
    if gathered:
        return Gathered(policy, manifest)
    engine = EngineShape(tensor, expert_parallel, *_counts(policy.hf_config))
    settings = replace(settings, wire=replace(settings.wire, loaded=loaded))
    return BucketSwap(policy, manifest, engine, tensor_rank, settings)


def _counts(config: Mapping[str, Any]) -> tuple[int, int]:
    """Key/value heads, and experts of a layer."""
    experts = config.get("num_experts") or config.get("num_local_experts") or 0
    return config.get("num_key_value_heads") or config["num_attention_heads"], experts
