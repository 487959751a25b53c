"""Group-relative advantages: what one sampled action is worth against the others of its group.

Every estimator is a function of one group's rewards, so groups may differ in size (a sample without a verdict is left
out of its group). With r_i the rewards of a group, eps = 1e-6, and all arithmetic in float64:

group            (r_i - mean) / (std + eps), std of the population; 0 in a group whose rewards are all equal
leave_one_out    (r_i - mean of the others) / (sample std of the others + eps); r_i - mean of the others where these
                 are all equal
mean             r_i - mean
unnormalised     r_i: no baseline, so an all-1 group does carry a gradient (paper Prop. 3.1 does not hold)

With 0/1 rewards in a group of 16 a lone success gets 3.87 from `group` and 1.0 from `leave_one_out`, because the others
have no spread to divide by; each of two successes gets 2.65 and 3.62; a lone failure -3.87 and -1.0. Low-mean pivots
are the lone-success ones, so the two estimators weigh hard pivots very differently.
"""

from collections.abc import Callable

import torch
from torch import Tensor

EPSILON = 1e-6


def group(rewards: Tensor) -> Tensor:
    """(r - mean) / (std + eps), population std: GRPO's own (paper eq. 7). Float64 [G] to float64 [G]."""
    if constant(rewards):
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / (rewards.std(unbiased=False) + EPSILON)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Mean and sample std of the *other* members; only centred where these do not vary. Float64 [G] to float64 [G].

    An only member has no others to be compared with: 0.
    """
    size = len(rewards)
    if size < 2:
        return torch.zeros_like(rewards)
    others = rewards.expand(size, size)[~torch.eye(size, dtype=torch.bool)].view(size, size - 1)
    alike = others.amax(1) == others.amin(1)
    centred = rewards - torch.where(alike, others[:, 0], others.mean(1))  # a mean of equal numbers may be rounded
    spread = others.std(1, unbiased=True) if size > 2 else torch.zeros_like(rewards)
    return torch.where(alike, centred, centred / (spread + EPSILON))


def mean(rewards: Tensor) -> Tensor:
    """r - mean: a group's pull grows with its spread. Float64 [G] to float64 [G]."""
    return torch.zeros_like(rewards) if constant(rewards) else rewards - rewards.mean()


def unnormalised(rewards: Tensor) -> Tensor:
    """The rewards themselves: plain REINFORCE. Float64 [G] to float64 [G]."""
    return rewards.clone()


ESTIMATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "group": group,
    "leave_one_out": leave_one_out,
    "mean": mean,
    "unnormalised": unnormalised,
}


def constant(rewards: Tensor) -> bool:
    """Whether all are equal, decided by comparison: their mean may be rounded away from them."""
    return len(rewards) == 0 or bool(rewards.max() == rewards.min())


def advantages(rewards: Tensor, groups: Tensor, estimator: str) -> Tensor:
    """The advantage of every action of a step.

    Args:
        rewards: [A], in any order.
        groups: int64 [A], the group of each; groups may differ in size.
        estimator: a name in `ESTIMATORS`.

    Returns:
        float64 [A].
    """
    rewards = rewards.double()
    found = torch.zeros_like(rewards)
    for number in groups.unique():
        members = groups == number
        found[members] = ESTIMATORS[estimator](rewards[members])
    return found


def penalise(values: Tensor, malformed: Tensor, penalty: float | None) -> Tensor:
    """Advantages with those of malformed actions *set* to `penalty`, whatever their group earned.

    An action that is no readable call or thought is pushed down with the same force in every group, also where all
    others failed too and the estimator alone would give it nothing. The rewards that the estimator saw are left as
    they are: the other members of the group are judged as without the penalty.

    Args:
        values: float [A].
        malformed: bool [A].
        penalty: normally negative; None: no penalty.
    """
    return values if penalty is None else torch.where(malformed, torch.full_like(values, penalty), values)
