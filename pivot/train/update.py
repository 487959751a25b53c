"""One policy update: groups in, new weights and what happened out (paper eq. 7)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot import ranks
from pivot.grpo.advantages import ESTIMATORS
from pivot.grpo.losses import Clip, kl_k3, merge_stats, policy_loss, token_stats
from pivot.mine.groups import Group
from pivot.policy import PackedSample, Policy, data_parallel_rank, data_parallel_size
from pivot.train.packing import plan


@dataclass(frozen=True, slots=True)
class Grpo:
    """The settings of the update: advantage estimator, clip range, sampling temperature, micro-batch size in tokens."""

    estimator: str
    clip: Clip
    temperature: float
    micro_batch_tokens: int


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Samples of one forward pass; `sampled` and `advantages` are float [R] over their action tokens."""

    samples: list[PackedSample]
    sampled: Tensor
    advantages: Tensor


def update(
    policy: Policy, reference: Policy | None, groups: Sequence[Group], settings: Grpo, lr: float
) -> dict[str, float]:
    """One exact full-batch GRPO step, whatever the micro-batches and data-parallel split.

    Groups with uniform rewards have zero advantage, hence no gradient (Prop. 3.1): they are left out of the forward
    pass and still count in the token-mean. A batch of uniform groups alone changes nothing and skips the update.

    Args:
        policy: the sharded policy.
        reference: the frozen start policy, when the KL to it is to be measured in this step.
        groups: the whole step's groups, the same on every rank.
        settings: estimator, clip range, micro-batch size.
        lr: learning rate of this step.

    Returns:
        `loss`, `grad_norm` and token statistics, the same on every rank.
    """
    estimate = ESTIMATORS[settings.estimator]
    advantages = [torch.zeros(0) if group.uniform else estimate(torch.tensor([group.rewards]))[0] for group in groups]
    total_tokens = sum(len(sample.token_ids) for group in groups for sample, _ in group.scored)
    micro = micro_batches(groups, advantages, settings.micro_batch_tokens)
    if not micro:
        return {"loss": 0.0, "grad_norm": 0.0, "trained_tokens": 0.0}
    packed = [batch.samples for batch in micro]
    temperature = settings.temperature
    start = [logprobs for logprobs, _ in reference.logprobs(packed, temperature=temperature)] if reference else None

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        sampled, advantage = micro[index].sampled.to(logprobs.device), micro[index].advantages.to(logprobs.device)
        value = policy_loss(logprobs, sampled, advantage, settings.clip, total_tokens)
        stats = token_stats(logprobs, sampled, entropy, settings.clip) | {"loss_sum": value.detach()}
        if start is not None:
            stats["kl_sum"] = kl_k3(logprobs.detach(), start[index].to(logprobs.device)).sum()
        return value, stats

    parts = policy.forward_backward(packed, loss, temperature=temperature)
    grad_norm = policy.optimizer_step(lr)
    return summarise(merge_stats(across_data_parallel(parts))) | {"grad_norm": grad_norm}


def micro_batches(groups: Sequence[Group], advantages: Sequence[Tensor], budget: int) -> list[MicroBatch]:
    """This data-parallel rank's micro-batches of the samples that carry a gradient."""
    rows = [
        (group.turn.prompt, sample, float(advantages[g][i]))
        for g, group in enumerate(groups)
        if not group.uniform
        for i, (sample, _) in enumerate(group.scored)
    ]
    if not rows:
        return []
    lengths = [len(prompt) + len(sample.token_ids) for prompt, sample, _ in rows]
    mine = plan(lengths, data_parallel_size(), budget)[data_parallel_rank()]
    return [
        MicroBatch(
            [PackedSample(torch.tensor([*rows[i][0], *rows[i][1].token_ids]), len(rows[i][0])) for i in indices],
            torch.tensor([logprob for i in indices for logprob in rows[i][1].logprobs]),
            torch.tensor([rows[i][2] for i in indices for _ in rows[i][1].token_ids]),
        )
        for indices in mine
    ]


def across_data_parallel(parts: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """One copy of every data-parallel rank's statistics, on every rank."""
    everyone = ranks.gather([(data_parallel_rank(), parts)])
    return [part for _, batch in sorted(dict(everyone).items()) for part in batch]


def summarise(sums: dict[str, float]) -> dict[str, float]:
    """Means from the sums of `token_stats`."""
    tokens = sums["tokens_sum"]
    summary = {
        "loss": sums["loss_sum"],
        "ratio_mean": sums["ratio_sum"] / tokens,
        "ratio_max": sums["ratio_max"],
        "clipped_fraction": sums["clipped_sum"] / tokens,
        "entropy": sums["entropy_sum"] / tokens,
        "logprob_gap_mean": sums["gap_sum"] / tokens,
        "logprob_gap_max": sums["gap_max"],
        "trained_tokens": tokens,
    }
    if "kl_sum" in sums:
        summary["kl_to_start"] = sums["kl_sum"] / tokens
    return summary
