"""The clipped loss: values and gradients by hand, and exact splitting."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.grpo.losses import Clip, kl_k3, merge_stats, policy_loss, token_stats

CLIP = Clip(0.2, 0.28)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.56, 0.0),  # above 1 + high with a good action: clipped, no gradient
        (0.5, 2.0, -1.0, -1.0),  # below, good action: still pulled up
        (0.5, -1.0, 0.8, 0.0),  # below 1 - low with a bad action: clipped
        (1.5, -1.0, 1.5, 1.5),  # above, bad action: still pushed down
    ],
)
def test_clipping(ratio: float, advantage: float, loss: float, gradient: float) -> None:
    logprobs = torch.tensor([math.log(ratio) - 1.0], dtype=torch.float64, requires_grad=True)
    value = policy_loss(logprobs, torch.tensor([-1.0], dtype=torch.float64), torch.tensor([advantage]), CLIP, 1)
    value.backward()
    assert value.item() == pytest.approx(loss, abs=1e-6)
    assert logprobs.grad.item() == pytest.approx(gradient, abs=1e-6)


def test_gradient_matches_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    sampled, advantages = (torch.randn(8, generator=generator, dtype=torch.float64) for _ in range(2))
    start = sampled + 0.05 * torch.randn(8, generator=generator, dtype=torch.float64)
    torch.autograd.gradcheck(
        lambda x: policy_loss(x, sampled, advantages, CLIP, 8), (start.requires_grad_(),), atol=1e-6
    )


@given(cut=st.integers(1, 9))
def test_a_split_batch_adds_up_to_the_whole(cut: int) -> None:
    generator = torch.Generator().manual_seed(1)
    new, old, advantages = (torch.randn(10, generator=generator, dtype=torch.float64) for _ in range(3))
    whole = policy_loss(new, old, advantages, CLIP, 10)
    parts = sum(
        policy_loss(new[part], old[part], advantages[part], CLIP, 10) for part in (slice(cut), slice(cut, None))
    )
    assert float(parts) == pytest.approx(float(whole), abs=1e-12)


def test_stats_of_two_micro_batches_merge_to_those_of_one() -> None:
    new, old = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([-1.0, -1.5, -1.0])
    entropy = torch.tensor([0.1, 0.2, 0.3])
    whole = merge_stats([token_stats(new, old, entropy, CLIP)])
    parts = [token_stats(new[part], old[part], entropy[part], CLIP) for part in (slice(1), slice(1, None))]
    split = merge_stats(parts)
    assert whole == pytest.approx(split)
    assert whole["tokens_sum"] == 3
    assert whole["gap_max"] == pytest.approx(0.5)
    assert whole["clipped_sum"] == 2  # e^-0.5 and e^0.5 are outside [0.8, 1.28]
    assert whole["entropy_sum"] == pytest.approx(0.6)


def test_a_rank_without_samples_adds_nothing_and_keeps_the_graph() -> None:
    nothing = torch.zeros(0, requires_grad=True)
    stats = token_stats(nothing, torch.zeros(0), torch.zeros(0), CLIP)
    assert all(float(value) == 0 for value in stats.values())
    policy_loss(nothing, torch.zeros(0), torch.zeros(0), CLIP, 7).backward()
    assert nothing.grad is not None


def test_k3_is_zero_at_the_reference_and_unbiased() -> None:
    assert torch.equal(kl_k3(torch.tensor([-1.0]), torch.tensor([-1.0])), torch.zeros(1))
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.3, 0.2])
    exact = (p * (p / q).log()).sum()
    assert torch.allclose((p * kl_k3(p.log(), q.log())).sum(), exact, atol=1e-6)
