"""When a candidate needs no more samples, and how often stopping early is wrong."""

import random
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.mine.adaptive import Plan, chance_to_change, decided, outcome
from pivot.mine.select import PRESETS, Rule, rule

LOW = rule("paper", max_mean=0.6)


@pytest.mark.parametrize(
    ("chosen", "rewards", "left", "expected"),
    [
        (rule("paper"), [0, 1], 6, True),  # differing rewards have a mean below 1 whatever follows
        (rule("mixed"), [0, 1], 6, True),
        (rule("mixed"), [0, 0, 0, 0], 1, False),
        (rule("mixed"), [1, 1, 1, 1], 1, False),
        (LOW, [0, 1], 6, False),  # the mean of 8 lies in [1/8, 7/8]
        (LOW, [0, 0, 0, 1], 4, False),  # [1/8, 5/8]
        (LOW, [0, 0, 0, 0, 1], 3, True),  # [1/8, 4/8]
        (LOW, [1, 1, 1, 1, 1, 0], 2, True),  # [5/8, 7/8]
        (LOW, [1, 1, 1, 1, 0], 3, False),  # [4/8, 7/8]
        (rule("tau_as_run"), [0, 0, 0], 2, False),  # the selection is decided, the class is not
        (rule("paper"), [0.25, 0.75], 6, True),
    ],
)
def test_what_is_decided(chosen: Rule, rewards: list[float], left: int, expected: bool) -> None:
    assert decided(rewards, left, chosen) is expected


@pytest.mark.parametrize("chosen", [*PRESETS.values(), LOW], ids=lambda item: f"{item.name}-{item.max_mean}")
def test_a_decided_candidate_never_changes(chosen: Rule) -> None:
    """Every way to go on from every beginning of up to 5 of 6 rewards, samples without a verdict included."""
    for size in range(2, 6):
        for rewards in product((0.0, 1.0), repeat=size):
            if decided(rewards, 6 - size, chosen):
                for rest in product((0.0, 0.5, 1.0, None), repeat=6 - size):
                    final = [*rewards, *(reward for reward in rest if reward is not None)]
                    assert outcome(final, chosen) == outcome(rewards, chosen)


def test_the_chance_to_change_is_the_posterior_predictive() -> None:
    # Beta(1, 1) after 4 failures: the chance of one more failure is 5/6, then 6/7: (5/6)(6/7)(7/8)(8/9) = 5/9.
    assert chance_to_change([0] * 4, 4, rule("mixed"), 1.0) == pytest.approx(4 / 9)
    assert chance_to_change([1] * 4, 4, rule("mixed"), 1.0) == pytest.approx(4 / 9)
    # Jeffreys: (4.5/5)(5.5/6).
    assert chance_to_change([0] * 4, 2, rule("mixed"), 0.5) == pytest.approx(1 - 4.5 / 5 * 5.5 / 6)
    # The class is decided, the mean is not: 1 of 2, it stays below 0.6 of 4 unless both others succeed: (2/4)(3/5).
    assert chance_to_change([0, 1], 2, LOW, 1.0) == pytest.approx(0.3)
    assert chance_to_change([0, 1], 6, rule("mixed"), 1.0) == pytest.approx(0.0)


def test_settled_within_the_error_rate() -> None:
    plan = Plan((4, 4, 8), rule("mixed"), error_rate=0.2, prior=0.1)
    zero = chance_to_change([0] * 8, 8, rule("mixed"), 0.1)
    assert 0.05 < zero < 0.2
    assert plan.group_size == 16
    assert not plan.settled([])
    assert not plan.settled([0.0] * 2)
    assert plan.settled([0.0] * 8)
    assert not Plan((4, 4, 8), rule("mixed"), error_rate=0.05, prior=0.1).settled([0.0] * 8)
    assert not Plan((4, 4, 8), rule("mixed")).settled([0.0] * 15)
    assert Plan((4, 4, 8), rule("mixed")).settled([0.0] * 16)
    assert Plan((4, 4, 8), rule("mixed")).settled([0.0, 1.0])


def test_samples_without_a_verdict_are_drawn_but_say_nothing() -> None:
    plan = Plan((2, 2), rule("mixed"), error_rate=0.99)
    assert not plan.settled([None, None])
    assert not plan.settled([None, 0.0])
    assert Plan((2, 2), rule("mixed")).settled([None, 0.0, 1.0])
    assert plan.settled([None] * 4)


@given(st.floats(0.01, 0.5), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 1 << 30))
@settings(max_examples=30)
def test_stopping_early_is_wrong_as_rarely_as_stated(error_rate: float, prior: float, seed: int) -> None:
    """Candidates drawn from the stated prior: the stated rate bounds the wrong ones among those that stop."""
    source = random.Random(seed)
    plan = Plan((4, 4, 8), rule("paper", max_mean=0.6), error_rate, prior)
    stopped = wrong = 0
    for _ in range(200):
        success = source.betavariate(prior, prior)
        rewards = [float(source.random() < success) for _ in range(16)]
        drawn = next(n for n in (4, 8, 16) if plan.settled(rewards[:n]))
        stopped += drawn < 16
        wrong += outcome(rewards[:drawn], plan.rule) != outcome(rewards, plan.rule)
    assert wrong <= error_rate * stopped + 4 * (stopped * error_rate * (1 - error_rate)) ** 0.5 + 1
