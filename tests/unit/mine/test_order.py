"""Prefix order and the balanced contiguous split."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.mine.order import common_prefix, distinct_tokens, prefix_order, split_contiguous
from pivot.trajectory import Candidate, Trajectory, candidates
from pivot.trajectory.messages import read_messages, read_tools
from tests.unit.trajectory.examples import WEATHER_TOOL


def _trajectory(name: str, opening: str, turns: int) -> list[Candidate]:
    raw = [{"role": "system", "content": "policy"}]
    for turn in range(turns):
        raw.append({"role": "user", "content": opening if turn == 0 else f"{name} {turn}"})
        raw.append({"role": "assistant", "content": f"{name} answer {turn}"})
    trajectory = Trajectory(name, read_messages(raw), read_tools([WEATHER_TOOL]), "tool_use", None, "f:1")
    return [item for item in candidates(trajectory) if isinstance(item, Candidate)]


def test_nested_prefixes_follow_one_another_shortest_first() -> None:
    everything = [c for name in "abc" for c in _trajectory(name, f"hello {name}", 4)]
    shuffled = random.Random(0).sample(everything, len(everything))
    ordered = [shuffled[index] for index in prefix_order(shuffled)]
    assert sorted(prefix_order(shuffled)) == list(range(12))
    for start in (0, 4, 8):
        group = ordered[start : start + 4]
        assert len({c.trajectory_id for c in group}) == 1
        assert [c.turn for c in group] == [0, 1, 2, 3]


@given(st.randoms(), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 4)), max_size=5))
def test_the_order_is_that_of_contents_and_a_history_comes_before_its_extensions(
    shuffler: random.Random, shapes: list[tuple[str, int]]
) -> None:
    # Trajectories a, b, c open alike and d, e, f open alike, so histories branch.
    pool = {n: _trajectory(n, "same" if n in "abc" else "other", turns) for n, turns in dict(shapes).items()}
    items = [c for group in pool.values() for c in group]
    ordered = [items[index].candidate_id for index in prefix_order(items)]
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert [shuffled[index].candidate_id for index in prefix_order(shuffled)] == ordered
    by_id = {c.candidate_id: c for c in items}
    histories = [by_id[name].messages for name in ordered]
    for position, history in enumerate(histories):
        extends = [other for other in histories[:position] if history == other[: len(history)]]
        assert all(other == history for other in extends)
    # Depth first: everything that shares a history with an item lies in one stretch.
    for history in histories:
        inside = [i for i, other in enumerate(histories) if other[: len(history)] == history]
        assert inside == list(range(inside[0], inside[-1] + 1))


@pytest.mark.parametrize(
    ("weights", "parts", "expected"),
    [
        ([1, 1, 1, 1], 2, [range(2), range(2, 4)]),
        ([1, 1, 1, 1, 1], 2, [range(3), range(3, 5)]),
        ([9, 1, 1, 1], 2, [range(1), range(1, 4)]),
        ([1, 1, 1, 9], 2, [range(3), range(3, 4)]),
        ([1], 3, [range(0), range(1), range(1, 1)]),
        ([], 2, [range(0), range(0)]),
        ([0, 0], 1, [range(2)]),
    ],
)
def test_exact_splits(weights: list[float], parts: int, expected: list[range]) -> None:
    assert split_contiguous(weights, parts) == expected


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 6))
def test_parts_cover_everything_in_order_and_are_balanced(weights: list[int], parts: int) -> None:
    ranges = split_contiguous(weights, parts)
    assert len(ranges) == parts
    assert [index for part in ranges for index in part] == list(range(len(weights)))
    heaviest = max((sum(weights[index] for index in part) for part in ranges), default=0)
    assert heaviest <= sum(weights) / parts + max(weights, default=0)


def test_no_parts_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="0 parts"):
        split_contiguous([1], 0)


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([], 0),
        ([[]], 0),
        ([[1, 2, 3]], 3),
        ([[1, 2, 3], [1, 2, 3]], 3),
        ([[1, 2, 3, 4], [1, 2, 3]], 4),
        ([[1, 2, 5], [1, 2, 3], [1, 2]], 4),
        ([[1, 9], [2, 9], [1, 9, 9]], 5),
    ],
)
def test_tokens_of_the_prefix_tree(prompts: list[list[int]], expected: int) -> None:
    assert distinct_tokens(prompts) == expected


@given(st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=12))
def test_the_prefix_tree_has_a_node_for_every_distinct_beginning(prompts: list[list[int]]) -> None:
    nodes = {tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)}
    assert distinct_tokens(prompts) == len(nodes)


@given(st.lists(st.integers(0, 2), max_size=9).map(tuple), st.lists(st.integers(0, 2), max_size=9).map(tuple))
def test_the_longest_common_beginning(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    length = common_prefix(first, second)
    assert first[:length] == second[:length]
    assert first[: length + 1] != second[: length + 1] or length == min(len(first), len(second))
