"""Advantages: values by hand, and the properties that the method rests on."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.grpo.advantages import ESTIMATORS, advantages, penalise
from pivot.grpo.options import CHOICES

RELATIVE = sorted(set(ESTIMATORS) - {"unnormalised"})
REWARDS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0]), min_size=1, max_size=12)


def of(name: str, *rewards: float) -> list[float]:
    found = ESTIMATORS[name](torch.tensor(rewards, dtype=torch.float64))
    assert found.dtype == torch.float64
    return found.tolist()


@pytest.mark.parametrize(
    ("name", "rewards", "expected"),
    [
        ("group", (1, 0, 0, 1), (1, -1, -1, 1)),
        ("group", (1, 0, 0, 0), (3**0.5, -(3**-0.5), -(3**-0.5), -(3**-0.5))),
        ("group", (0, 0.5, 1, 0.5), (-(2**0.5), 0, 2**0.5, 0)),
        # a success's others are 0 0 1: mean 1/3, sample std sqrt(1/3)
        ("leave_one_out", (1, 0, 0, 1), (2 / 3**0.5, -2 / 3**0.5, -2 / 3**0.5, 2 / 3**0.5)),
        # the others of a lone success have no spread; those of a failure are 1 0 0
        ("leave_one_out", (1, 0, 0, 0), (1, -(3**-0.5), -(3**-0.5), -(3**-0.5))),
        # the others of 0 are 0.5 1 0.5: mean 2/3, std sqrt(1/12); those of a 0.5 are 0 1 0.5: mean 1/2, std 1/2
        ("leave_one_out", (0, 0.5, 1, 0.5), (-4 / 3**0.5, 0, 4 / 3**0.5, 0)),
        ("leave_one_out", (1, 0), (1, -1)),  # one other has no spread
        ("leave_one_out", (1, 0, 0), (1, -(2**-0.5), -(2**-0.5))),  # two others have: 1 0 has std sqrt(1/2)
        ("mean", (1, 0, 0, 1), (0.5, -0.5, -0.5, 0.5)),
        ("mean", (1, 0, 0, 0), (0.75, -0.25, -0.25, -0.25)),
        ("unnormalised", (1, 0, 0.5), (1, 0, 0.5)),
        ("unnormalised", (1, 1), (1, 1)),
    ],
)
def test_values_by_hand(name: str, rewards: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert of(name, *rewards) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("name", "successes", "of_success", "of_failure"),
    [
        ("group", 1, math.sqrt(15), -math.sqrt(1 / 15)),
        ("group", 2, math.sqrt(7), -math.sqrt(1 / 7)),
        ("group", 15, math.sqrt(1 / 15), -math.sqrt(15)),
        ("leave_one_out", 1, 1.0, -math.sqrt(1 / 15)),
        ("leave_one_out", 2, math.sqrt(196 / 15), -math.sqrt(28 / 195)),
        ("leave_one_out", 15, math.sqrt(1 / 15), -1.0),
        ("mean", 1, 15 / 16, -1 / 16),
        ("unnormalised", 1, 1.0, 0.0),
    ],
)
def test_a_few_successes_in_sixteen(name: str, successes: int, of_success: float, of_failure: float) -> None:
    """The facts' table: a lone success 3.87 or 1.0, two 2.65 or 3.62, a lone failure -3.87 or -1.0."""
    found = of(name, *[1.0] * successes, *[0.0] * (16 - successes))
    assert found == pytest.approx([of_success] * successes + [of_failure] * (16 - successes), abs=2e-5)


@pytest.mark.parametrize("name", RELATIVE)
@given(reward=st.floats(0, 1), size=st.integers(1, 16))
def test_uniform_rewards_give_exactly_zero(name: str, reward: float, size: int) -> None:
    """Paper Prop. 3.1, whatever a mean of equal numbers is rounded to."""
    assert of(name, *[reward] * size) == [0.0] * size


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@given(rewards=REWARDS, data=st.data())
def test_permuting_a_group_permutes_its_advantages(name: str, rewards: list[float], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rewards))))
    straight = of(name, *rewards)
    assert of(name, *[rewards[i] for i in order]) == pytest.approx([straight[i] for i in order], abs=1e-9)
    assert all(math.isfinite(value) for value in straight)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=5), data=st.data())
def test_ragged_groups_are_judged_one_by_one(name: str, sizes: list[int], data: st.DataObject) -> None:
    reward = st.sampled_from([0.0, 0.5, 1.0])
    members = [(number, data.draw(reward)) for number, size in enumerate(sizes) for _ in range(size)]
    mixed = data.draw(st.permutations(members))
    groups, rewards = (torch.tensor(column) for column in zip(*mixed, strict=True))
    found = advantages(rewards.float(), groups, name)
    for number in range(len(sizes)):
        alone = of(name, *[reward for group, reward in mixed if group == number])
        assert found[groups == number].tolist() == pytest.approx(alone, abs=1e-12)


def test_a_step_without_a_verdict_has_no_advantages() -> None:
    assert advantages(torch.zeros(0), torch.zeros(0, dtype=torch.int64), "group").shape == (0,)


def test_the_penalty_replaces_the_advantage_of_malformed_actions_alone() -> None:
    values, malformed = torch.tensor([3.0, -1.0, 0.0]), torch.tensor([False, True, True])
    assert penalise(values, malformed, -5.0).tolist() == [3.0, -5.0, -5.0]
    assert penalise(values, malformed, None).tolist() == [3.0, -1.0, 0.0]


def test_the_configuration_knows_every_estimator() -> None:
    assert sorted(CHOICES["advantage"]) == sorted(ESTIMATORS)
