"""The engine that sampled is not quite the policy that trains: other kernels, other precision, perhaps older weights.

With d = trainer - engine logprob of a token (the trainer's at the start of the step), w = exp(d) is the importance
ratio of the token, and the product of w over an action that of the action. A correction multiplies the token losses:

none            1: the difference is measured and not corrected
token_tis       min(w, cap): truncated importance sampling, token by token; biased, of low variance
sequence_tis    min(product of w, cap) for all tokens of an action: unbiased below the cap, of higher variance
icepop          w where low <= w <= high, else 0: tokens on which the two disagree too much are left out

Beside any of them, a sequence threshold leaves out (0) whole actions whose geometric-mean ratio, exp(mean of d), is
outside [1 / threshold, threshold]. A token that is left out stays in the denominators of the loss, which were fixed
before its logprob was known.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot.grpo.stats import largest

KINDS = ("none", "token_tis", "sequence_tis", "icepop")


@dataclass(frozen=True, slots=True)
class Correction:
    """How the difference between trainer and engine is corrected.

    Attributes:
        kind: one of `KINDS`.
        cap: largest weight of `token_tis` and `sequence_tis`.
        low: `icepop` leaves out tokens whose ratio is below.
        high: ... and above this.
        sequence_threshold: above 1; None: no action is left out for its geometric-mean ratio.
    """

    kind: str = "none"
    cap: float = 5.0
    low: float = 0.5
    high: float = 5.0
    sequence_threshold: float | None = None


def importance(trainer: Tensor, engine: Tensor, actions: Tensor, correction: Correction) -> tuple[Tensor, Tensor]:
    """The factor of every token's loss, without gradient.

    Args:
        trainer: float [n], the policy's logprobs at the start of the step.
        engine: float [n], the engine's when it sampled.
        actions: int64 [n], the action of each token, 0..a-1; whole actions only.
        correction: what to do.

    Returns:
        Factors float [n], and bool [n]: the factor was cut at the cap.
    """
    delta = (trainer - engine).detach()
    sums, counts = per_action(delta, actions)
    cut = torch.zeros_like(delta, dtype=torch.bool)
    if correction.kind in ("token_tis", "sequence_tis"):
        logs = delta if correction.kind == "token_tis" else sums[actions]
        cut = logs > math.log(correction.cap)
        factors = torch.where(cut, torch.full_like(logs, correction.cap), logs.exp())
    elif correction.kind == "icepop":
        ratio = delta.exp()
        factors = torch.where((ratio >= correction.low) & (ratio <= correction.high), ratio, torch.zeros_like(ratio))
    else:
        factors = torch.ones_like(delta)
    if correction.sequence_threshold is not None:
        kept = (sums / counts).abs() <= math.log(correction.sequence_threshold)
        factors = factors * kept[actions]
    return factors, cut


def per_action(values: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of `values` over the tokens of each action, and how many they are: float [a] both."""
    count = int(actions.max()) + 1 if actions.numel() else 0
    zeros = values.new_zeros(count)
    return zeros.index_add(0, actions, values), zeros.index_add(0, actions, torch.ones_like(values))


def mismatch_stats(trainer: Tensor, engine: Tensor, factors: Tensor, cut: Tensor) -> dict[str, Tensor]:
    """How far trainer and engine are apart, in sums and extremes over tokens.

    Args:
        trainer: float [n].
        engine: float [n].
        factors: float [n], of `importance`.
        cut: bool [n], of `importance`.

    Returns:
        `tokens_sum`; `gap_*`: |d|; `ratio_*`: w, and `ratio_inverse_max`: 1 / w; `ratio_high_sum` and
        `ratio_low_sum`: tokens with w above 2 or below 1/2; `mismatch_kl_sum`: k3 estimate of KL(engine || trainer);
        `mismatch_error_sum`: exp|d|; `mismatch_truncated_sum` and `mismatch_masked_sum`: tokens cut at the cap and
        left out.
    """
    delta = (trainer - engine).detach()
    ratio, gap = delta.exp(), delta.abs()
    return {
        "tokens_sum": torch.tensor(float(delta.numel())),
        "gap_sum": gap.sum(),
        "gap_max": largest(gap),
        "ratio_sum": ratio.sum(),
        "ratio_max": largest(ratio),
        "ratio_inverse_max": largest((-delta).exp()),
        "ratio_high_sum": (ratio > 2).float().sum(),
        "ratio_low_sum": (ratio < 0.5).float().sum(),
        "mismatch_kl_sum": (torch.expm1(delta) - delta).sum(),
        "mismatch_error_sum": gap.exp().sum(),
        "mismatch_truncated_sum": cut.float().sum(),
        "mismatch_masked_sum": (factors == 0).float().sum(),
    }
