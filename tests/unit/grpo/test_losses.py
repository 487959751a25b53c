"""The clipped loss and the KL to a reference: values and gradients by hand, and by exact expectation."""

import math

import pytest
import torch
from torch import Tensor

from pivot.grpo.losses import KL, Clip, action_kl, clipped, kl_loss, policy_loss
from pivot.grpo.options import CHOICES

CLIP, DUAL = Clip(0.2, 0.28), Clip(0.2, 0.28, 3.0)


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("clip", "ratio", "advantage", "loss", "gradient"),
    [
        (CLIP, 1.0, 2.0, -2.0, -2.0),
        (CLIP, 1.1, 2.0, -2.2, -2.2),
        (CLIP, 1.5, 2.0, -2.56, 0.0),  # above 1 + high with a good action: clipped, no gradient
        (CLIP, 0.5, 2.0, -1.0, -1.0),  # below, good action: still pulled up
        (CLIP, 0.5, -1.0, 0.8, 0.0),  # below 1 - low with a bad action: clipped
        (CLIP, 1.5, -1.0, 1.5, 1.5),  # above, bad action: still pushed down
        (CLIP, 4.0, -1.0, 4.0, 4.0),  # ... however far
        (DUAL, 4.0, -1.0, 3.0, 0.0),  # unless dual clip bounds it
        (DUAL, 2.9, -2.0, 5.8, 5.8),
        (DUAL, 0.5, -1.0, 0.8, 0.0),
        (DUAL, 4.0, 2.0, -2.56, 0.0),  # dual clip is for bad actions
        (DUAL, 1.1, 2.0, -2.2, -2.2),
        (DUAL, 1.0, 0.0, 0.0, 0.0),
    ],
)
def test_clipping(clip: Clip, ratio: float, advantage: float, loss: float, gradient: float) -> None:
    logprobs = doubles(math.log(ratio) - 1.0).requires_grad_()
    value = policy_loss(logprobs, doubles(-1.0), doubles(advantage), clip)
    value.sum().backward()
    assert value.item() == pytest.approx(loss, abs=1e-12)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-12)


def test_clipped_tokens_are_those_outside_the_range() -> None:
    ratios = doubles(0.79, 0.81, 1.0, 1.27, 1.29)
    assert clipped(ratios.log(), torch.zeros(5), CLIP).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    ("estimator", "value"),
    [("k1", math.log(2)), ("k2", math.log(2) ** 2 / 2), ("k3", 0.5 - 1 + math.log(2))],
)
def test_estimates_of_a_token_twice_as_likely_as_in_the_reference(estimator: str, value: float) -> None:
    estimate = KL[estimator](doubles(math.log(0.5)), doubles(math.log(0.25)))
    assert estimate.item() == pytest.approx(value, abs=1e-12)
    assert KL[estimator](doubles(-1.0), doubles(-1.0)).item() == 0


POLICY, REFERENCE, OLD = doubles(1.0, -0.5, 0.3, 0.0), doubles(0.2, 0.1, -0.7, 0.4), doubles(0.5, 0.2, -0.1, 0.1)


def divergence(logits: Tensor) -> Tensor:
    logprobs = logits.log_softmax(0)
    return (logprobs.exp() * (logprobs - REFERENCE.log_softmax(0))).sum()


def numerical_gradient(function, at: Tensor, step: float = 1e-5) -> Tensor:
    steps = step * torch.eye(len(at), dtype=at.dtype)
    return torch.stack([(function(at + d) - function(at - d)) / (2 * step) for d in steps])


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_estimates_are_unbiased(estimator: str) -> None:
    logprobs = POLICY.log_softmax(0)
    mean = (logprobs.exp() * KL[estimator](logprobs, REFERENCE.log_softmax(0))).sum()
    assert mean.item() == pytest.approx(divergence(POLICY).item(), abs=1e-12)


@pytest.mark.parametrize("estimator", sorted(KL))
@pytest.mark.parametrize("old", [POLICY, OLD], ids=["on-policy", "off-policy"])
def test_the_loss_term_has_the_gradient_of_the_kl(estimator: str, old: Tensor) -> None:
    """In expectation over tokens of the old policy, against finite differences of the exact divergence."""
    logits = POLICY.clone().requires_grad_()
    term = kl_loss(logits.log_softmax(0), old.log_softmax(0), REFERENCE.log_softmax(0), estimator)
    (old.softmax(0) * term).sum().backward()
    assert torch.allclose(logits.grad, numerical_gradient(divergence, POLICY), atol=1e-9)


def test_on_policy_k2_and_k3_have_one_gradient_token_by_token() -> None:
    logprobs = doubles(-1.0, -2.0, -0.3)
    reference = doubles(-1.2, -1.0, -0.3)
    for estimator, expected in [("k1", [1.2, 0.0, 1.0]), ("k2", [0.2, -1.0, 0.0]), ("k3", [0.2, -1.0, 0.0])]:
        x = logprobs.clone().requires_grad_()
        kl_loss(x, logprobs, reference, estimator).sum().backward()
        assert x.grad.tolist() == pytest.approx(expected, abs=1e-12)


def reward_gradient(estimator: str) -> Tensor:
    """Of minus the expected estimate as a reward: E[estimate * grad logprob]."""
    logits = POLICY.clone().requires_grad_()
    logprobs = logits.log_softmax(0)
    estimate = KL[estimator](logprobs.detach(), REFERENCE.log_softmax(0))
    (logprobs.exp().detach() * estimate * logprobs).sum().backward()
    return logits.grad


def test_in_the_reward_only_k1_has_the_gradient_of_the_kl() -> None:
    exact = numerical_gradient(divergence, POLICY)
    assert torch.allclose(reward_gradient("k1"), exact, atol=1e-9)
    for estimator in ("k2", "k3"):
        assert (reward_gradient(estimator) - exact).norm() > 0.3 * exact.norm()


def test_kl_of_actions_adds_up_their_tokens() -> None:
    sampled, reference = torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.5, -2.0, -2.0])
    actions = torch.tensor([0, 0, 2])
    assert action_kl(sampled, reference, actions, 3, "k1").tolist() == [0.5, 0.0, -1.0]
    assert action_kl(sampled, reference, actions, 3, "k2").tolist() == [0.125, 0.0, 0.5]
    k3 = [math.exp(-0.5) - 0.5, 0.0, math.e - 2]
    assert action_kl(sampled, reference, actions, 3, "k3").tolist() == pytest.approx(k3, abs=1e-12)


def test_the_configuration_knows_every_estimate() -> None:
    assert sorted(CHOICES["kl_estimator"]) == sorted(KL)
