"""The paper's Theorem 3.2 on a tabular policy: GRPO's signal is worth the standard deviation of the reward."""

import pytest
import torch


@pytest.mark.parametrize("successes", [1, 2, 3, 4])
def test_natural_gradient_norm_is_proportional_to_the_reward_std(successes: int) -> None:
    """For pi_b proportional to pi_0 exp(r/b) the norm is sqrt(Var r) / b^2, with Var under pi_b."""
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(5, generator=generator, dtype=torch.float64).softmax(0)
    reward = torch.tensor([1.0] * successes + [0.0] * (5 - successes), dtype=torch.float64)
    b = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    policy = (start.log() + reward / b).softmax(0)
    # The path b -> pi_b has natural velocity norm sqrt(E[(d log pi / db)^2]).
    scores = torch.stack([torch.autograd.grad(policy[i].log(), b, retain_graph=True)[0] for i in range(5)])
    fisher = (policy.detach() * scores**2).sum().sqrt()
    variance = (policy * reward**2).sum() - (policy * reward).sum() ** 2
    assert fisher.item() == pytest.approx((variance.sqrt() / b**2).item(), rel=1e-9)


def test_the_policy_gradient_of_uniform_rewards_is_zero() -> None:
    """Paper Prop. 3.1, through the loss that trains."""
    from pivot.grpo.advantages import group
    from pivot.grpo.losses import Clip, policy_loss

    logits = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logprobs = logits.log_softmax(0)
    advantages = group(torch.ones(1, 4, dtype=torch.float64))[0]
    policy_loss(logprobs, logprobs.detach(), advantages, Clip(0.2, 0.2), 4).backward()
    assert torch.equal(logits.grad, torch.zeros(4, dtype=torch.float64))
