"""The paper's Prop. 3.1 and Thms 3.2 and 3.3 on a tabular policy, through the loss that trains."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pivot.grpo.advantages import ESTIMATORS, advantages
from pivot.grpo.losses import Clip
from pivot.grpo.mismatch import Correction
from pivot.grpo.objective import Objective, batch_loss

OBJECTIVE = Objective(Clip(0.2, 0.2), Correction("token_tis"))
TEMPERATURES = [0.2, 0.5, 1.0, 3.0]
RELATIVE = sorted(set(ESTIMATORS) - {"unnormalised"})


def table(seed: int, size: int = 6) -> tuple[Tensor, Tensor]:
    """A policy pi_0 and rewards in [0, 1] of its actions."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, generator=generator, dtype=torch.float64).softmax(0)
    return start, torch.rand(size, generator=generator, dtype=torch.float64)


def tilted(start: Tensor, reward: Tensor, b: float) -> Tensor:
    """pi_b, proportional to pi_0 exp(r / b)."""
    return (start.log() + reward / b).softmax(0)


def std(policy: Tensor, values: Tensor) -> Tensor:
    return ((policy * values.square()).sum() - (policy * values).sum().square()).clamp(min=0).sqrt()


def loss_gradient(policy: Tensor, drawn: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """By the logits, of the training loss of actions of one token: `drawn` actions, their advantages and weights."""
    logits = policy.log().requires_grad_()
    logprobs = logits.log_softmax(0)[drawn]
    actions, none = torch.arange(len(drawn)), torch.zeros(len(drawn), dtype=torch.float64)
    sampled = logprobs.detach().clone()
    loss, _ = batch_loss(
        OBJECTIVE, logprobs, none, sampled=sampled, advantages=values, weights=weights, actions=actions
    )
    loss.backward()
    assert logits.grad is not None
    return logits.grad


def natural_norm(policy: Tensor, gradient: Tensor) -> Tensor:
    """sqrt(g' F^+ g) with the softmax policy's Fisher matrix F = diag(p) - p p'."""
    fisher = policy.diag() - policy.outer(policy)
    return (gradient @ torch.linalg.pinv(fisher, hermitian=True, rtol=1e-12) @ gradient).sqrt()


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("seed", range(4))
def test_the_signal_of_a_tilted_policy_is_the_std_of_its_reward_over_b_squared(b: float, seed: int) -> None:
    """Thm 3.2: gamma_b = sqrt(Var r) / b^2, as the natural speed of b -> pi_b, Var under pi_b."""
    start, reward = table(seed)
    policy = tilted(start, reward, b)
    rate = torch.autograd.functional.jacobian(
        lambda at: (start.log() + reward / at).log_softmax(0), torch.tensor(b, dtype=torch.float64)
    )  # d log pi_b / d b
    speed = (policy * rate.square()).sum().sqrt()
    assert speed.item() == pytest.approx((std(policy, reward) / b**2).item(), rel=1e-9)


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("seed", range(4))
def test_the_natural_gradient_of_the_training_loss_is_that_speed(b: float, seed: int) -> None:
    """Thm 3.2 for our loss: its exact expected gradient has the natural norm sqrt(Var r), gamma_b times b^2."""
    start, reward = table(seed)
    policy = tilted(start, reward, b)
    centred = reward - (policy * reward).sum()
    gradient = loss_gradient(policy, torch.arange(6), centred, policy)
    assert natural_norm(policy, gradient).item() == pytest.approx(std(policy, reward).item(), rel=1e-8)


@pytest.mark.parametrize("b", TEMPERATURES)
@pytest.mark.parametrize("successes", [1, 2, 3])
def test_groups_of_sampled_actions_carry_the_same_signal(b: float, successes: int) -> None:
    """Over every possible group of G = 3, mean-centred GRPO has (G - 1)/G of it: binary, sqrt(p (1 - p))."""
    size, members = 4, 3
    start, _ = table(successes, size)
    reward = torch.tensor([1.0] * successes + [0.0] * (size - successes), dtype=torch.float64)
    policy = tilted(start, reward, b)
    drawn = torch.tensor(list(itertools.product(range(size), repeat=members)))
    chance = policy[drawn].prod(1, keepdim=True).expand(-1, members) / members
    groups = torch.arange(len(drawn)).repeat_interleave(members)
    values = advantages(reward[drawn].flatten(), groups, "mean")
    gradient = loss_gradient(policy, drawn.flatten(), values, chance.flatten())
    p = (policy * reward).sum()
    expected = (members - 1) / members * (p * (1 - p)).sqrt()
    assert natural_norm(policy, gradient).item() == pytest.approx(expected.item(), rel=1e-8)


@pytest.mark.parametrize("estimator", RELATIVE)
@given(reward=st.floats(0, 1), drawn=st.lists(st.integers(0, 3), min_size=1, max_size=9))
def test_uniform_rewards_have_exactly_no_gradient(estimator: str, reward: float, drawn: list[int]) -> None:
    """Prop. 3.1."""
    policy, _ = table(0, 4)
    rewards = torch.full((len(drawn),), reward, dtype=torch.float64)
    values = advantages(rewards, torch.zeros(len(drawn), dtype=torch.int64), estimator)
    gradient = loss_gradient(policy, torch.tensor(drawn), values, torch.full_like(values, 1 / len(drawn)))
    assert torch.equal(gradient, torch.zeros(4, dtype=torch.float64))


def test_without_a_baseline_uniform_rewards_do_have_one() -> None:
    policy, _ = table(0, 4)
    values = advantages(torch.ones(2), torch.zeros(2, dtype=torch.int64), "unnormalised")
    assert loss_gradient(policy, torch.tensor([0, 1]), values, torch.full_like(values, 0.5)).any()


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0])
def test_a_natural_step_on_the_functional_reward_keeps_both_conditionals(step: float) -> None:
    """Thm 3.3: mass moves onto the acceptable actions M, and pi(. | M) and pi(. | not M) stay as they were."""
    policy, _ = table(5)
    accepted = torch.tensor([True, False, True, False, False, True])
    reward = accepted.double()
    gradient = loss_gradient(policy, torch.arange(6), reward - (policy * reward).sum(), policy)
    fisher = policy.diag() - policy.outer(policy)
    moved = (policy.log() - step * torch.linalg.pinv(fisher, hermitian=True, rtol=1e-12) @ gradient).softmax(0)
    assert moved[accepted].sum() > policy[accepted].sum() + 0.02
    for part in (accepted, ~accepted):
        assert torch.allclose(moved[part] / moved[part].sum(), policy[part] / policy[part].sum(), atol=1e-9)


@given(
    mass=st.floats(0.05, 0.95),
    other=st.lists(st.floats(0.01, 1.0), min_size=6, max_size=6),
)
def test_no_other_move_of_that_mass_is_as_close(mass: float, other: list[float]) -> None:
    """Thm 3.3: of all policies with the mass q on M, q pi_0(. | M) + (1 - q) pi_0(. | not M) has the least KL."""
    policy, _ = table(6)
    accepted = torch.tensor([True, False, True, False, False, True])

    def with_mass(weights: Tensor) -> Tensor:
        inside, outside = weights[accepted].sum(), weights[~accepted].sum()
        return torch.where(accepted, mass * weights / inside, (1 - mass) * weights / outside)

    def divergence(target: Tensor) -> float:
        return float((target * (target / policy).log()).sum())

    best = divergence(with_mass(policy))
    p = float(policy[accepted].sum())
    masses = mass * math.log(mass / p) + (1 - mass) * math.log((1 - mass) / (1 - p))  # what any such move costs
    assert best == pytest.approx(masses, abs=1e-9)
    assert divergence(with_mass(torch.tensor(other, dtype=torch.float64))) >= best - 1e-12
