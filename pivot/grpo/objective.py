"""The loss of one micro-batch from the numbers of its tokens: clip, mismatch, KL and entropy put together."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pivot.grpo.losses import Clip, Kl, clipped, kl_k3, kl_loss, policy_loss
from pivot.grpo.mismatch import Correction, importance, mismatch_stats


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised, token by token.

    Attributes:
        clip: Range of the probability ratio.
        correction: Of the difference between trainer and engine.
        old_logprobs: What the ratio is taken against. `policy`: the policy's own logprobs at the start of the step.
            With one update a step these are the ones being computed, so they cost no pass, and the ratio is exactly 1
            with the exact policy gradient; what sets trainer and engine apart is the business of `correction` alone.
            `engine`: the engine's, so that the clip bounds that difference too.
        entropy: Weight of the bonus for entropy.
        kl: The pull towards the reference, or None.
    """

    clip: Clip
    correction: Correction
    old_logprobs: str = "policy"
    entropy: float = 0.0
    kl: Kl | None = None

    @property
    def kl_in_loss(self) -> Kl | None:
        """The pull, where it is a term of the token loss."""
        return self.kl if self.kl is not None and self.kl.place == "loss" else None

    @property
    def kl_in_reward(self) -> Kl | None:
        """The pull, where it is a part of the rewards."""
        return self.kl if self.kl is not None and self.kl.place == "reward" else None

    @property
    def needs_advantage(self) -> bool:
        """Whether a token whose advantage is 0 has no gradient."""
        return self.kl_in_loss is None and self.entropy == 0


def token_losses(
    objective: Objective,
    logprobs: Tensor,
    entropy: Tensor,
    old: Tensor,
    factors: Tensor,
    advantages: Tensor,
    reference: Tensor | None,
) -> Tensor:
    """factor * (clipped policy loss + coefficient * KL) - bonus * entropy, of every token.

    The mismatch factor is on all that is an average over what the engine sampled; the entropy of a position is exact.

    Args:
        objective: what is minimised.
        logprobs: float [n], with gradient.
        entropy: float [n], nats, with gradient.
        old: float [n], what the ratio is taken against.
        factors: float [n], of `importance`.
        advantages: float [n].
        reference: float [n], wanted where a KL is in the loss.

    Returns:
        float [n].
    """
    losses = policy_loss(logprobs, old, advantages, objective.clip)
    pull = objective.kl_in_loss
    if pull is not None:
        if reference is None:
            raise ValueError("a KL in the loss needs the reference's logprobs")
        losses = losses + pull.coefficient * kl_loss(logprobs, old, reference, pull.estimator)
    losses = factors * losses
    return losses - objective.entropy * entropy if objective.entropy else losses


def batch_loss(
    objective: Objective,
    logprobs: Tensor,
    entropy: Tensor,
    *,
    sampled: Tensor,
    advantages: Tensor,
    weights: Tensor,
    actions: Tensor,
    reference: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over tokens of weight * token loss: this micro-batch's share of the step's loss.

    Args:
        objective: what is minimised.
        logprobs: float [n], of the policy, with gradient.
        entropy: float [n], nats, with gradient.
        sampled: float [n], the engine's logprobs.
        advantages: float [n].
        weights: float [n], of `token_weights`; 0 for a token that is masked.
        actions: int64 [n], the action of each token, 0..a-1; an action is in one micro-batch only.
        reference: float [n], the reference's logprobs, where they are known.

    Returns:
        Scalar, and statistics over the tokens that are not masked, mergeable by `merge_stats`: those of
        `mismatch_stats`, `loss_sum`, `clipped_sum`, `entropy_sum`, and `kl_sum` (k3) where there is a reference.
    """
    trainer = logprobs.detach()
    old = sampled if objective.old_logprobs == "engine" else trainer
    factors, cut = importance(trainer, sampled, actions, objective.correction)
    losses = token_losses(objective, logprobs, entropy, old, factors, advantages, reference)
    loss = (weights * losses).sum()
    with torch.no_grad():
        live = weights > 0
        stats = mismatch_stats(trainer[live], sampled[live], factors[live], cut[live])
        stats["loss_sum"] = loss.detach()
        stats["clipped_sum"] = clipped(trainer[live], old[live], objective.clip).float().sum()
        stats["entropy_sum"] = entropy[live].sum()
        if reference is not None:
            stats["kl_sum"] = kl_k3(trainer[live], reference[live]).sum()
    return loss, stats
