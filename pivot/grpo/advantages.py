"""Group-relative advantages: what one sampled action is worth against the others of its group."""

import torch
from torch import Tensor

EPSILON = 1e-6


def group(rewards: Tensor) -> Tensor:
    """GRPO's advantage: (r - mean) / (std + eps) within each group (paper eq. 7; population std).

    A group whose rewards are all equal gets exactly zero (paper Prop. 3.1).

    Args:
        rewards: float [B, G].

    Returns:
        float [B, G].
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    spread = rewards.std(dim=1, keepdim=True, unbiased=False)
    return torch.where(spread > 0, centred / (spread + EPSILON), torch.zeros_like(centred))


def leave_one_out(rewards: Tensor) -> Tensor:
    """Baseline and (sample) std of the *other* members; unnormalised where these do not vary.

    With 0/1 rewards a lone success among G=16 gets 1.0 (plain GRPO: 3.87) because the others have no spread to divide
    by; with two successes each gets 3.62 (plain GRPO: 2.65). Low-mean pivots are the lone-success ones, so the two
    estimators weigh hard pivots very differently.

    Args:
        rewards: float [B, G], G >= 2.

    Returns:
        float [B, G].
    """
    size = rewards.shape[1]
    others = rewards.unsqueeze(1).expand(-1, size, -1)
    others = others[:, ~torch.eye(size, dtype=torch.bool)].view(rewards.shape[0], size, size - 1)
    centred = rewards - others.mean(dim=2)
    spread = others.std(dim=2, unbiased=True) if size > 2 else torch.zeros_like(centred)
    return torch.where(spread > 0, centred / (spread + EPSILON), centred)


ESTIMATORS = {"group": group, "leave_one_out": leave_one_out}
