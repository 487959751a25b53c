"""One policy update: groups in, new weights and what happened out (paper eq. 7)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot import ranks
from pivot.grpo.advantages import advantages, penalise
from pivot.grpo.losses import Kl, action_kl
from pivot.grpo.objective import Objective, batch_loss
from pivot.grpo.reductions import token_weights
from pivot.grpo.stats import merge_stats, summarise
from pivot.mine.groups import Group
from pivot.policy import Policy, data_parallel_rank, data_parallel_size
from pivot.train.batches import Packing, Row, action_of_token, cut, micro_batch, pack, sampled_logprobs, scored_rows


@dataclass(frozen=True, slots=True)
class Grpo:
    """The settings of the update.

    Attributes:
        estimator: Of advantages, a name in `pivot.grpo.advantages.ESTIMATORS`.
        reduction: From tokens to the step, a name in `pivot.grpo.reductions.REDUCTIONS`.
        objective: The loss of a token.
        temperature: Of sampling; logprobs are taken at it.
        packing: How actions are put into micro-batches.
        malformed_advantage: What an unreadable action's advantage is set to; None: what its group says.
        mask_over_long: Leave actions that were cut off at the length limit out of the loss and its denominators; they
            stay in their group's baseline.
    """

    estimator: str
    reduction: str
    objective: Objective
    temperature: float
    packing: Packing
    malformed_advantage: float | None = None
    mask_over_long: bool = False


def update(
    policy: Policy, reference: Policy | None, groups: Sequence[Group], settings: Grpo, lr: float
) -> dict[str, float]:
    """One exact full-batch GRPO step, whatever the micro-batches and data-parallel split.

    Actions that carry no gradient (Prop. 3.1: those of groups with uniform rewards) are left out of the forward pass
    and still count in the weights. A step of such actions alone changes nothing and skips the update.

    Args:
        policy: the sharded policy.
        reference: the frozen start policy, when the KL to it is to be measured or is part of the objective.
        groups: the whole step's groups, the same on every rank.
        settings: advantages, loss and micro-batch size.
        lr: learning rate of this step.

    Returns:
        `loss`, `grad_norm` and token statistics, the same on every rank.

    Raises:
        ValueError: the objective has a KL and there is no reference.
    """
    if settings.objective.kl is not None and reference is None:
        raise ValueError("an objective with a KL needs the reference policy in every step")
    rows = scored_rows(groups)
    rewards = torch.tensor([row.verdict.reward for row in rows], dtype=torch.float64)
    weights, values = row_weights(rows, settings), row_advantages(rows, rewards, settings)
    kept = trained(values, weights, settings.objective)
    if not kept:
        return {"loss": 0.0, "grad_norm": 0.0, "trained_tokens": 0.0}
    parts = cut(rows, kept, settings.packing, data_parallel_rank(), data_parallel_size())
    packed, temperature, extra = [pack(rows, part, settings.packing) for part in parts], settings.temperature, {}
    start = [logprobs for logprobs, _ in reference.logprobs(packed, temperature=temperature)] if reference else None
    pull = settings.objective.kl_in_reward
    if pull is not None and start is not None:
        distance = row_kl(rows, parts, start, pull)
        values = row_advantages(rows, rewards - pull.coefficient * distance, settings)
        extra["kl_of_actions"] = float(distance.mean())
    micro = [micro_batch(rows, part, values, weights) for part in parts]

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        batch, where = micro[index], logprobs.device
        return batch_loss(
            settings.objective,
            logprobs,
            entropy,
            sampled=batch.sampled.to(where),
            advantages=batch.advantages.to(where),
            weights=batch.weights.to(where),
            actions=batch.actions.to(where),
            reference=start[index].to(where) if start is not None else None,
        )

    parts_seen = policy.forward_backward(packed, loss, temperature=temperature)
    norms = policy.norms()
    grad_norm = policy.optimizer_step(lr)
    return summarise(merge_stats(across_data_parallel(parts_seen))) | extra | norms | {"grad_norm": grad_norm}


def row_advantages(rows: Sequence[Row], rewards: Tensor, settings: Grpo) -> Tensor:
    """The advantage of every row: float64 [A]."""
    values = advantages(rewards, integers(row.group for row in rows), settings.estimator)
    return penalise(values, integers(row.malformed for row in rows).bool(), settings.malformed_advantage)


def row_weights(rows: Sequence[Row], settings: Grpo) -> Tensor:
    """The weight of every row's tokens in the loss of the step: float64 [A]."""
    lengths, groups = integers(row.length for row in rows), integers(row.group for row in rows)
    masked = integers(settings.mask_over_long and row.over_long for row in rows).bool()
    return token_weights(settings.reduction, lengths, groups, ~masked)


def integers(values: Iterable[int]) -> Tensor:
    """Int64 also when there are none, as in a step without a verdict."""
    return torch.tensor(list(values), dtype=torch.int64)


def trained(values: Tensor, weights: Tensor, objective: Objective) -> list[int]:
    """Rows to forward: those with a gradient. A KL in the reward makes every reward, hence everyone's advantage."""
    if objective.kl_in_reward is not None:
        return list(range(len(values))) if bool((weights > 0).any()) else []
    live = (weights > 0) & (values != 0) if objective.needs_advantage else weights > 0
    return [int(i) for i in live.nonzero()]


def row_kl(rows: Sequence[Row], parts: Sequence[Sequence[int]], start: Sequence[Tensor], pull: Kl) -> Tensor:
    """The KL to the reference of every row, from each data-parallel rank's share: float64 [A], the same everywhere."""
    mine: dict[int, float] = {}
    for part, reference in zip(parts, start, strict=True):
        sums = action_kl(
            sampled_logprobs(rows, part), reference, action_of_token(rows, part), len(part), pull.estimator
        )
        mine |= dict(zip(part, sums.tolist(), strict=True))
    everyone = {row: value for share in ranks.gather([mine]) for row, value in share.items()}
    return torch.tensor([everyone[i] for i in range(len(rows))], dtype=torch.float64)


def across_data_parallel(parts: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    """One copy of every data-parallel rank's statistics, on every rank."""
    everyone = ranks.gather([(data_parallel_rank(), parts)])
    return [part for _, batch in sorted(dict(everyone).items()) for part in batch]
