"""The clipped policy-gradient loss of GRPO and the KL to a reference, token by token."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """Clip range of the probability ratio: [1 - low, 1 + high].

    Attributes:
        low: How far down.
        high: How far up; above `low` it leaves more room to raise rare good actions (DAPO's clip-higher).
        dual: c > 1: the loss of a bad action (A < 0) never exceeds -c A, however far its ratio has risen (dual clip,
            arXiv 1912.09729); None: no such bound.
    """

    low: float
    high: float
    dual: float | None = None


@dataclass(frozen=True, slots=True)
class Kl:
    """The pull towards the reference policy.

    Attributes:
        coefficient: Its weight, above 0.
        estimator: `k1`, `k2` or `k3` (`KL`).
        place: `loss`: a term of the token loss (`kl_loss`); `reward`: the sum over an action's tokens is taken off its
            reward, before advantages are made (`action_kl`).
    """

    coefficient: float
    estimator: str
    place: str


def policy_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, clip: Clip) -> Tensor:
    """-min(r A, clip(r) A) a token, r = exp(logprob - old) (paper eq. 7); at A < 0 no more than -c A with dual clip.

    Args:
        logprobs: float [n], of the policy, with gradient.
        old: float [n], of the policy that the ratio is taken against.
        advantages: float [n], the action's advantage at each of its tokens.
        clip: ratio range.

    Returns:
        float [n].
    """
    ratio = torch.exp(logprobs - old)
    worth = torch.minimum(ratio * advantages, ratio.clamp(1 - clip.low, 1 + clip.high) * advantages)
    if clip.dual is not None:
        worth = torch.where(advantages < 0, torch.maximum(worth, clip.dual * advantages), worth)
    return -worth


def clipped(logprobs: Tensor, old: Tensor, clip: Clip) -> Tensor:
    """Bool [n]: the ratio is outside the clip range (whatever the sign of the advantage)."""
    ratio = torch.exp(logprobs - old)
    return (ratio < 1 - clip.low) | (ratio > 1 + clip.high)


def kl_k1(logprobs: Tensor, reference: Tensor) -> Tensor:
    """-d with d = reference - policy logprob: unbiased for samples of the policy, may be negative. Float [n]."""
    return logprobs - reference


def kl_k2(logprobs: Tensor, reference: Tensor) -> Tensor:
    """d^2 / 2: never negative, of low variance, biased. Float [n]."""
    return (reference - logprobs).square() / 2


def kl_k3(logprobs: Tensor, reference: Tensor) -> Tensor:
    """e^d - 1 - d: unbiased for samples of the policy and never negative. Float [n]."""
    delta = reference - logprobs
    return torch.expm1(delta) - delta


KL = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}
"""Estimates of KL(policy || reference) at sampled tokens (J. Schulman, "Approximating KL divergence", 2020)."""


def kl_loss(logprobs: Tensor, old: Tensor, reference: Tensor, estimator: str) -> Tensor:
    """A term whose gradient, over tokens that `old` sampled, is in expectation that of KL(policy || reference).

    Differentiating the estimates themselves would not do: E[grad k1] is 0 and E[grad k3] is the gradient of the
    *forward* KL(reference || policy), because the tokens' distribution moves too. With the ratio as a factor, which is
    1 on-policy but has a gradient, k1 and k3 are right; k2 is right as it is (its ratio only reweights). On-policy k2
    and k3 then have the same gradient token by token; k1's has the same mean and more noise.

    Args:
        logprobs: float [n], of the policy, with gradient.
        old: float [n], of the policy that the ratio is taken against.
        reference: float [n].
        estimator: a name in `KL`.

    Returns:
        float [n].
    """
    ratio = torch.exp(logprobs - old)
    return (ratio.detach() if estimator == "k2" else ratio) * KL[estimator](logprobs, reference)


def action_kl(sampled: Tensor, reference: Tensor, actions: Tensor, count: int, estimator: str) -> Tensor:
    """KL to the reference of whole actions, to be taken off their rewards.

    As part of a reward only k1 has the right policy gradient: the estimate is a constant there, and
    E[k1 grad logprob] is the gradient of the KL, while for k3 it vanishes to first order around the reference. The
    sampler's own logprobs are used, for it is the sampler that the estimate is unbiased for, and they cost no pass.

    Args:
        sampled: float [n], of the engine that sampled.
        reference: float [n].
        actions: int64 [n], the action of each token, 0..a-1.
        count: a, how many actions there are.
        estimator: a name in `KL`.

    Returns:
        float64 [a].
    """
    values = KL[estimator](sampled.double(), reference.double())
    return torch.zeros(count, dtype=torch.float64).index_add(0, actions, values)
