"""From losses of tokens to the loss of a step: a weight for each token, fixed before any batch is cut.

The loss is the sum over tokens of weight * token loss. The weights come from the whole step's groups, so the sum is the
full-batch loss under any cut into micro-batches or over data-parallel ranks. With R_i tokens in action i:

token       1 / (tokens of the step): every token counts the same (DAPO's loss)
sequence    1 / (actions of the step * R_i): every action counts the same
group       1 / (groups of the step * tokens of the action's group): every group counts the same

Only *counted* actions enter: one that is masked has weight 0 and is in no denominator. Actions without a gradient
(uniform rewards) are counted: they dilute the others, as in a batch that was forwarded whole.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def token(lengths: Tensor, groups: Tensor) -> Tensor:
    """1 / tokens of the step. Float64 [A], int64 [A] to float64 [A]."""
    return torch.full_like(lengths, 1 / float(lengths.sum()))


def sequence(lengths: Tensor, groups: Tensor) -> Tensor:
    """1 / (actions * tokens of the action). Float64 [A], int64 [A] to float64 [A]."""
    return 1 / (len(lengths) * lengths)


def group(lengths: Tensor, groups: Tensor) -> Tensor:
    """1 / (groups * tokens of the group). Float64 [A], int64 [A] to float64 [A]."""
    names, member_of = groups.unique(return_inverse=True)
    totals = torch.zeros(len(names), dtype=lengths.dtype).index_add(0, member_of, lengths)
    return 1 / (len(names) * totals[member_of])


REDUCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"token": token, "sequence": sequence, "group": group}


def token_weights(reduction: str, lengths: Tensor, groups: Tensor, counted: Tensor) -> Tensor:
    """The weight that each token of an action has in the loss of the step.

    Args:
        reduction: a name in `REDUCTIONS`.
        lengths: [A], tokens of each action; one without tokens is never counted.
        groups: int64 [A], the group of each action.
        counted: bool [A], false for an action that is masked out of the loss.

    Returns:
        float64 [A], the same for all tokens of an action. The weights of all counted tokens add up to 1.
    """
    counted = counted & (lengths > 0)
    weights = torch.zeros(len(lengths), dtype=torch.float64)
    if counted.any():
        weights[counted] = REDUCTIONS[reduction](lengths[counted].double(), groups[counted])
    return weights
