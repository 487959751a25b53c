"""Mean, variance and eq. 5."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.mine.select import profile, select


def test_a_profile_has_the_population_variance() -> None:
    item = profile("c", [1, 0, 0, 0], ["match", "malformed", "malformed", "malformed"])
    assert (item.mean, item.variance, item.kind) == (0.25, 0.1875, "mixed")
    assert item.rewards == (1.0, 0.0, 0.0, 0.0)
    assert item.reasons == {"match": 1, "malformed": 3}


@pytest.mark.parametrize(
    ("rewards", "kind"),
    [
        ([0, 0], "all0"),
        ([1, 1], "all1"),
        ([0, 1], "mixed"),
        ([0.1] * 3, "all0"),
        ([0.7] * 3, "all1"),
        ([1], "all1"),
    ],
)
def test_the_class_of_a_profile(rewards: list[float], kind: str) -> None:
    assert profile("c", rewards).kind == kind


@given(st.floats(0, 1), st.integers(1, 20))
def test_equal_rewards_have_exactly_no_variance(reward: float, count: int) -> None:
    item = profile("c", [reward] * count)
    assert item.variance == 0.0
    assert item.mean == reward


def test_mean_and_variance_of_every_binary_group_of_four() -> None:
    for rewards in product((0, 1), repeat=4):
        item = profile("c", rewards)
        p = sum(rewards) / 4
        assert (item.mean, item.variance) == (p, p * (1 - p))


@pytest.mark.parametrize("rewards", [[], [1.5], [-0.1], [float("nan")]])
def test_impossible_rewards_are_refused(rewards: list[float]) -> None:
    with pytest.raises(ValueError, match="candidate c"):
        profile("c", rewards)


PROFILES = [
    profile("zero", [0, 0, 0, 0]),
    profile("hard", [1, 0, 0, 0]),
    profile("half", [1, 1, 0, 0]),
    profile("easy", [1, 1, 1, 0]),
    profile("one", [1, 1, 1, 1]),
]


@pytest.mark.parametrize(
    ("require_variance", "max_mean", "kept", "cut"),
    [
        (True, 0.6, ["hard", "half"], {"all0": 1, "all1": 1, "mean_not_below_lambda": 1}),
        (True, 0.5, ["hard"], {"all0": 1, "all1": 1, "mean_not_below_lambda": 2}),
        (True, None, ["hard", "half", "easy"], {"all0": 1, "all1": 1}),
        (False, 0.6, ["zero", "hard", "half"], {"mean_not_below_lambda": 2}),
        (False, None, ["zero", "hard", "half", "easy", "one"], {}),
    ],
)
def test_selection_keeps_order_and_counts_every_cut(
    require_variance: bool, max_mean: float | None, kept: list[str], cut: dict[str, int]
) -> None:
    pivots, counts = select(PROFILES, require_variance=require_variance, max_mean=max_mean)
    assert [item.candidate_id for item in pivots] == kept
    assert counts == cut
    assert len(pivots) + counts.total() == len(PROFILES)
