"""Numbers of a step that add up over micro-batches and ranks: a key's suffix says how (`_sum`, `_max`)."""

from torch import Tensor


def largest(values: Tensor) -> Tensor:
    """Largest of values that are not negative, 0 of none: a data-parallel rank may have no sample in a small batch."""
    return values.max() if values.numel() else values.new_zeros(())


def merge_stats(parts: list[dict[str, Tensor]]) -> dict[str, float]:
    """Merge the statistics of micro-batches (and ranks) by the suffix of each key."""
    merged: dict[str, float] = {}
    for part in parts:
        for key, value in part.items():
            known = merged.get(key)
            if known is None:
                merged[key] = float(value)
            else:
                merged[key] = max(known, float(value)) if key.endswith("_max") else known + float(value)
    return merged


MEANS = {
    "ratio_mean": "ratio",
    "ratio_above_2": "ratio_high",
    "ratio_below_half": "ratio_low",
    "clipped_fraction": "clipped",
    "entropy": "entropy",
    "logprob_gap_mean": "gap",
    "mismatch_kl": "mismatch_kl",
    "mismatch_error": "mismatch_error",
    "mismatch_truncated": "mismatch_truncated",
    "mismatch_masked": "mismatch_masked",
    "kl_to_start": "kl",
}
"""Means over tokens: the name that is logged, and the sum (without `_sum`) that it comes from."""


def summarise(sums: dict[str, float]) -> dict[str, float]:
    """What is logged of a step, from the merged statistics of `pivot.grpo.objective.batch_loss`."""
    tokens = sums["tokens_sum"]
    means = {name: sums[f"{key}_sum"] / tokens for name, key in MEANS.items() if f"{key}_sum" in sums}
    return means | {
        "loss": sums["loss_sum"],
        "ratio_max": sums["ratio_max"],
        "ratio_min": 1 / sums["ratio_inverse_max"],
        "logprob_gap_max": sums["gap_max"],
        "trained_tokens": tokens,
    }
