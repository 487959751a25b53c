"""Who samples what, and that everybody's results come back in order."""

from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot import ranks
from pivot.rollout.placement import Placement
from pivot.shares import Shares, balance, once, sampling_costs

COSTS = st.lists(st.integers(0, 1000).map(float), max_size=40)


def loads(costs: list[float], parts: list[list[int]]) -> list[float]:
    return [sum(costs[i] for i in part) for part in parts]


@given(COSTS, st.integers(1, 9))
def test_every_item_is_in_one_part_and_parts_keep_the_order(costs: list[float], parts: int) -> None:
    found = balance(costs, parts)
    assert len(found) == parts
    assert sorted(i for part in found for i in part) == list(range(len(costs)))
    assert all(part == sorted(part) for part in found)
    assert balance(costs, parts) == found


@given(COSTS.filter(bool), st.integers(1, 9))
def test_no_part_is_further_above_another_than_its_cheapest_item(costs: list[float], parts: int) -> None:
    found = balance(costs, parts)
    spent = loads(costs, found)
    for part, load in zip(found, spent, strict=True):
        if part:
            assert load - min(costs[i] for i in part) <= min(spent)


@given(st.lists(st.integers(0, 9).map(float), min_size=1, max_size=6), st.integers(2, 3))
def test_the_costliest_part_is_within_grahams_bound(costs: list[float], parts: int) -> None:
    ways = product(range(parts), repeat=len(costs))
    best = min(max(sum(c for c, p in zip(costs, way, strict=True) if p == k) for k in range(parts)) for way in ways)
    assert max(loads(costs, balance(costs, parts))) <= (4 / 3 - 1 / (3 * parts)) * best + 1e-9


@given(st.integers(0, 40), st.integers(1, 9), st.sampled_from([0.0, 1.0]))
def test_equal_items_are_dealt_out_one_by_one(count: int, parts: int, cost: float) -> None:
    sizes = [len(part) for part in balance([cost] * count, parts)]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_the_cheapest_part_takes_the_costliest_item_left() -> None:
    assert balance([1.0, 9.0, 5.0, 4.0, 2.0], 2) == [[1, 4], [0, 2, 3]]  # 2.0 to the part of one item, at 9.0 each
    with pytest.raises(ValueError, match="cannot share over 0 parts"):
        balance([1.0], 0)


def test_a_prompt_is_computed_once_for_all_its_samples() -> None:
    assert sampling_costs([100, 7], 8, 12.5) == [200.0, 107.0]


@pytest.mark.parametrize(("world", "tensor"), [(1, 1), (3, 1), (4, 2), (8, 4)])
def test_groups_come_back_once_and_in_order(monkeypatch: pytest.MonkeyPatch, world: int, tensor: int) -> None:
    costs = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    items = [f"item {i}" for i in range(len(costs))]
    places = [Placement.of(rank, world, tensor=tensor) for rank in range(world)]
    shares = [Shares.balanced(costs, place) for place in places]
    sent: list[list[object]] = []
    monkeypatch.setattr(ranks, "gather", lambda part: sent.append(list(part)) or list(part))
    for share, place in zip(shares, places, strict=True):
        share.gather([text.upper() for text in share.own(items)] if place.first else [])
    assert [bool(part) for part in sent] == [place.first for place in places]
    everyone = [pair for part in sent for pair in part]
    monkeypatch.setattr(ranks, "gather", lambda part: everyone)
    for share, place in zip(shares, places, strict=True):
        own = [text.upper() for text in share.own(items)]
        assert share.gather(own if place.first else []) == [text.upper() for text in items]
    for replica in range(places[0].replicas):
        assert len({tuple(share.own(items)) for share in shares if share.placement.replica == replica}) == 1


def test_results_that_are_not_one_an_item_are_refused() -> None:
    share = Shares.balanced([1.0, 1.0], Placement())
    with pytest.raises(ValueError, match="shorter"):
        share.gather(["only one"])


def test_once_counts_a_replica_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[int]] = []
    monkeypatch.setattr(ranks, "gather", lambda part: sent.append(list(part)) or [])
    for rank in range(4):
        once([10 + rank], Placement.of(rank, 4, tensor=2))
    assert sent == [[10], [], [12], []]


def test_the_order_of_items_decides_between_equals_only() -> None:
    for costs in permutations([5.0, 4.0, 3.0, 3.0, 2.0]):
        assert sorted(loads(list(costs), balance(costs, 2))) == [8.0, 9.0]
