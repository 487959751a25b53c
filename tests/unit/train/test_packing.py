"""The plan of micro-batches: complete, level, and the same number for every rank."""

from hypothesis import given
from hypothesis import strategies as st

from pivot.train.packing import plan


def test_longest_go_first_into_the_emptiest_bin() -> None:
    assert plan([10, 30, 20, 40], ranks=2, budget=50) == [[[0, 3]], [[1, 2]]]


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    ranks=st.integers(1, 5),
    budget=st.integers(1, 2000),
)
def test_every_sample_once_and_no_bin_empty_without_need(lengths: list[int], ranks: int, budget: int) -> None:
    bins = plan(lengths, ranks, budget)
    assert len(bins) == ranks
    assert len({len(of_rank) for of_rank in bins}) == 1
    flat = [index for of_rank in bins for micro in of_rank for index in micro]
    assert sorted(flat) == list(range(len(lengths)))
    loads = [sum(lengths[i] for i in micro) for of_rank in bins for micro in of_rank]
    assert (min(loads) > 0) == (len(lengths) >= ranks)
    assert max(loads) - min(loads) <= max(lengths)
