"""The clipped policy-gradient loss of GRPO, token by token, and what it tells about the step."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """Clip range of the probability ratio: [1 - low, 1 + high]."""

    low: float
    high: float


def policy_loss(
    logprobs: Tensor, sampled_logprobs: Tensor, advantages: Tensor, clip: Clip, total_tokens: int
) -> Tensor:
    """Token-level clipped surrogate, -sum min(r A, clip(r) A) / total_tokens (paper eq. 7).

    `total_tokens` counts the action tokens of the *whole* batch, over all micro-batches and data-parallel ranks, so
    that the sum of the partial losses is the full-batch loss whatever the split.

    Args:
        logprobs: float [R], of the policy, with gradient.
        sampled_logprobs: float [R], of the policy that sampled (the engine's own numbers).
        advantages: float [R], the action's advantage at each of its tokens.
        clip: ratio range.
        total_tokens: action tokens in the whole batch.

    Returns:
        Scalar.
    """
    ratio = torch.exp(logprobs - sampled_logprobs)
    clipped = ratio.clamp(1 - clip.low, 1 + clip.high)
    return -torch.minimum(ratio * advantages, clipped * advantages).sum() / total_tokens


def token_stats(logprobs: Tensor, sampled_logprobs: Tensor, entropy: Tensor, clip: Clip) -> dict[str, Tensor]:
    """Sums and extremes over tokens, mergeable over micro-batches: a key's suffix says how (`_sum`, `_max`).

    Args:
        logprobs: float [R].
        sampled_logprobs: float [R].
        entropy: float [R], nats.
        clip: ratio range, for the share of clipped tokens.

    Returns:
        `tokens_sum`, `ratio_sum`, `ratio_max`, `clipped_sum`, `entropy_sum`, `gap_sum`, `gap_max`; gap is
        |trainer - engine| logprob.
    """
    with torch.no_grad():
        ratio = torch.exp(logprobs - sampled_logprobs)
        gap = (logprobs - sampled_logprobs).abs()
        outside = (ratio < 1 - clip.low) | (ratio > 1 + clip.high)
        return {
            "tokens_sum": torch.tensor(float(ratio.numel())),
            "ratio_sum": ratio.sum(),
            "ratio_max": largest(ratio),
            "clipped_sum": outside.float().sum(),
            "entropy_sum": entropy.sum(),
            "gap_sum": gap.sum(),
            "gap_max": largest(gap),
        }


def largest(values: Tensor) -> Tensor:
    """Largest of values that are not negative, 0 of none: a data-parallel rank may have no sample in a small batch."""
    return values.max() if values.numel() else values.new_zeros(())


def merge_stats(parts: list[dict[str, Tensor]]) -> dict[str, float]:
    """Merge `token_stats` of micro-batches (and ranks) by the suffix of each key."""
    merged: dict[str, float] = {}
    for part in parts:
        for key, value in part.items():
            known = merged.get(key)
            if known is None:
                merged[key] = float(value)
            else:
                merged[key] = max(known, float(value)) if key.endswith("_max") else known + float(value)
    return merged


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """k3 estimate of KL(policy || reference) a token: e^d - 1 - d, with d = reference - policy logprob.

    Unbiased for samples of the policy (J. Schulman, "Approximating KL divergence", 2020).

    Args:
        logprobs: float [R].
        reference: float [R].

    Returns:
        float [R], never negative.
    """
    delta = reference - logprobs
    return torch.expm1(delta) - delta
