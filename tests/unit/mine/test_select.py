"""Mean, variance, eq. 5 and the other rules, caps."""

import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.mine.select import Caps, Rule, draw, profile, rule, select
from pivot.trajectory.types import Action, Candidate, ToolCall


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


def test_samples_without_a_verdict_count_in_nothing_but_errors() -> None:
    item = profile("c", [1, None, 0, None])
    assert (item.rewards, item.mean, item.variance, item.errors, item.kind) == ((1.0, 0.0), 0.5, 0.25, 2, "mixed")


@pytest.mark.parametrize(
    ("rewards", "kind"),
    [([None, None], "no_verdict"), ([None, 1], "no_verdict"), ([None, 1, 1], "all1"), ([None, 0, 0], "all0")],
)
def test_the_class_of_what_errors_leave(rewards: list[float | None], kind: str) -> None:
    assert profile("c", rewards).kind == kind


PROFILES = [
    profile("zero", [0, 0, 0, 0, 0]),
    profile("hard", [1, 0, 0, 0, 0]),
    profile("some", [1, 1, 0, 0, 0]),
    profile("most", [1, 1, 1, 0, 0]),
    profile("easy", [1, 1, 1, 1, 0]),
    profile("one", [1, 1, 1, 1, 1]),
    profile("error", [1, None, None, None, None]),
]
MEAN, ERRORS = "mean_not_below_lambda", {"error": "verdict_errors"}
NO_VARIANCE = {"zero": "all0", "one": "all1", **ERRORS}


@pytest.mark.parametrize(
    ("chosen", "kept", "cut"),
    [
        (rule("paper"), ["hard", "some", "most", "easy"], NO_VARIANCE),
        (rule("paper", max_mean=0.6), ["hard", "some"], NO_VARIANCE | {"most": MEAN, "easy": MEAN}),
        (rule("paper", max_mean=0.61), ["hard", "some", "most"], NO_VARIANCE | {"easy": MEAN}),
        (rule("paper", require_variance=False), ["zero", "hard", "some", "most", "easy"], {"one": MEAN, **ERRORS}),
        (rule("tau_as_run"), ["zero", "hard", "some", "most"], {"easy": MEAN, "one": MEAN, **ERRORS}),
        (rule("tau_as_run", require_variance=True), ["hard", "some", "most"], NO_VARIANCE | {"easy": MEAN}),
        (rule("tau_as_run", max_mean=0.4), ["zero", "hard", "some"],
         {"most": MEAN, "easy": MEAN, "one": MEAN, **ERRORS}),
        (rule("mixed"), ["hard", "some", "most", "easy"], NO_VARIANCE),
        (rule("mixed", max_mean=0.3), ["hard"], NO_VARIANCE | {"some": MEAN, "most": MEAN, "easy": MEAN}),
        (rule("hard"), ["hard"], NO_VARIANCE | {"some": MEAN, "most": MEAN, "easy": MEAN}),
    ],
    ids=lambda value: value.name if isinstance(value, Rule) else None,
)  # fmt: skip
def test_presets_keep_and_cut_exactly(chosen: Rule, kept: list[str], cut: dict[str, str]) -> None:
    pivots, reasons = select(PROFILES, chosen)
    assert [item.candidate_id for item in pivots] == kept  # in the order given
    assert reasons == cut


def test_random_draws_as_many_as_the_paper_keeps_by_content_alone() -> None:
    pivots, reasons = select(PROFILES, rule("random"))
    names = sorted((item.candidate_id for item in PROFILES if item.candidate_id != "error"), key=draw)
    assert {item.candidate_id for item in pivots} == set(names[:4])
    assert reasons == ERRORS | dict.fromkeys(names[4:], "not_drawn")
    assert {item.candidate_id for item in select(PROFILES[::-1], rule("random"))[0]} == set(names[:4])


def _candidate(name: str, trajectory: str, domain: str, message: bool) -> Candidate:
    expected = Action("hello") if message else Action(None, (ToolCall("f", "{}"),))
    return Candidate(name, trajectory, 0, 1, ({"role": "user", "content": "x"},), (), expected, domain, None, "f:1")


SHAPES = [  # name, trajectory, domain, message, rewards
    ("c1", "t1", "a", True, [1, 1, 0, 0]),
    ("c2", "t1", "a", False, [1, 0, 0, 0]),
    ("c3", "t1", "a", True, [1, 0, 0, 0]),
    ("c4", "t2", "a", False, [1, 1, 0, 0]),
    ("c5", "t2", "b", True, [1, 1, 0, 0]),
    ("c6", "t3", "b", False, [1, 0, 0, 0]),
    ("c7", "t3", "a", False, [1, 1, 1, 1]),
]
ABOUT = {name: _candidate(name, trajectory, domain, message) for name, trajectory, domain, message, _ in SHAPES}
CAPPED = [profile(name, rewards) for name, *_, rewards in SHAPES]


def _cut(caps: Caps) -> dict[str, str]:
    return select(CAPPED, rule("paper"), caps, ABOUT)[1]


def test_a_trajectory_keeps_its_pivots_with_the_largest_variance() -> None:
    assert _cut(Caps()) == {"c7": "all1"}
    last = max(("c2", "c3"), key=draw)  # of equal variance: the later lot goes
    assert _cut(Caps(per_trajectory=2)) == {"c7": "all1", last: "per_trajectory"}
    assert _cut(Caps(per_trajectory=1)).keys() - {"c4", "c5"} == {"c7", "c2", "c3"}


def test_messages_are_cut_down_to_their_share() -> None:
    # Messages c1, c5 (variance 0.25) and c3 (0.1875), calls c2, c4, c6: at most 0.4 x 5 = 2 messages.
    assert _cut(Caps(message_share=0.4)) == {"c7": "all1", "c3": "message_share"}
    assert _cut(Caps(message_share=0.5)) == {"c7": "all1"}
    assert _cut(Caps(message_share=0.0)) == {"c7": "all1", **dict.fromkeys(("c1", "c3", "c5"), "message_share")}
    assert _cut(Caps(message_share=1.0)) == {"c7": "all1"}


def test_the_largest_domain_is_cut_down_to_a_multiple_of_the_smallest() -> None:
    # Domain a has c1, c4 (0.25), c2, c3 (0.1875), domain b two.
    assert _cut(Caps(domain_ratio=2.0)) == {"c7": "all1"}
    assert _cut(Caps(domain_ratio=1.0)) == {"c7": "all1", "c2": "domain_balance", "c3": "domain_balance"}
    last = max(("c2", "c3"), key=draw)
    assert _cut(Caps(domain_ratio=1.5)) == {"c7": "all1", last: "domain_balance"}


@given(
    st.lists(st.tuples(st.sampled_from("tuvw"), st.sampled_from("ab"), st.booleans(), st.integers(0, 4)), max_size=25),
    st.none() | st.integers(1, 3),
    st.none() | st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    st.none() | st.sampled_from([1.0, 1.5, 3.0]),
    st.randoms(),
)
def test_all_caps_hold_in_the_end_and_order_does_not_matter(
    shapes: list[tuple[str, str, bool, int]],
    per_trajectory: int | None,
    share: float | None,
    ratio: float | None,
    shuffler: random.Random,
) -> None:
    about = {f"c{i}": _candidate(f"c{i}", t, d, m) for i, (t, d, m, _) in enumerate(shapes)}
    profiles = [profile(f"c{i}", [1] * n + [0] * (4 - n)) for i, (*_, n) in enumerate(shapes)]
    caps = Caps(per_trajectory, share, ratio)
    pivots, cut = select(profiles, rule("paper"), caps, about)
    assert {item.candidate_id for item in pivots} | cut.keys() == about.keys()
    assert len(pivots) + len(cut) == len(profiles)
    kept = [about[item.candidate_id] for item in pivots]
    if per_trajectory is not None:
        assert max(Counter(c.trajectory_id for c in kept).values(), default=0) <= per_trajectory
    if share is not None:
        assert sum(c.expected.kind == "message" for c in kept) <= share * len(kept)
    if ratio is not None:
        sizes = Counter(c.domain for c in kept).values()
        assert max(sizes, default=0) <= ratio * min(sizes, default=0)
    shuffler.shuffle(profiles)
    assert select(profiles, rule("paper"), caps, about)[1] == cut
