"""Advantages: values by hand, and the properties that the method rests on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.grpo.advantages import ESTIMATORS, group, leave_one_out


def lone(size: int, successes: int) -> torch.Tensor:
    return torch.tensor([[1.0] * successes + [0.0] * (size - successes)])


def test_group_is_centred_and_divided_by_the_population_std() -> None:
    advantages = group(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 0.5, 1.0, 0.5]]))
    assert torch.allclose(advantages[0], torch.tensor([1.0, -1.0, -1.0, 1.0]), atol=1e-5)
    root = math.sqrt(0.125)
    assert torch.allclose(advantages[1], torch.tensor([-0.5 / root, 0.0, 0.5 / root, 0.0]), atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "successes", "expected"),
    [
        (group, 1, 3.873),  # sqrt(15)
        (group, 2, 2.646),
        (leave_one_out, 1, 1.0),  # the others have no spread to divide by
        (leave_one_out, 2, 3.615),
        (leave_one_out, 15, None),
    ],
)
def test_a_few_successes_in_sixteen(estimator, successes: int, expected: float | None) -> None:
    advantages = estimator(lone(16, successes))
    if expected is not None:
        assert advantages[0, 0].item() == pytest.approx(expected, abs=2e-3)
    else:  # a lone failure
        assert advantages[0, -1].item() == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@pytest.mark.parametrize("reward", [0.0, 0.3, 1.0])
def test_uniform_rewards_give_exactly_zero(name: str, reward: float) -> None:
    """Paper Prop. 3.1."""
    assert torch.equal(ESTIMATORS[name](torch.full((2, 5), reward)), torch.zeros(2, 5))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@given(rewards=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=12), data=st.data())
def test_permuting_a_group_permutes_its_advantages(name: str, rewards: list[float], data) -> None:
    order = data.draw(st.permutations(range(len(rewards))))
    straight = ESTIMATORS[name](torch.tensor([rewards]))[0]
    permuted = ESTIMATORS[name](torch.tensor([[rewards[i] for i in order]]))[0]
    assert torch.allclose(permuted, straight[list(order)], atol=1e-5)
    assert torch.isfinite(straight).all()
