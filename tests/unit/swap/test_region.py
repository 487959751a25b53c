"""Rectangles: what they have in common, what is left of them, where they lie in each other."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.region import Region, missing

SHAPE = (6, 5)


def ranges(size: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(0, size - 1), st.integers(1, size)).filter(lambda pair: pair[0] < pair[1])


REGIONS = st.tuples(*(ranges(size) for size in SHAPE)).map(Region)


def mask(*regions: Region) -> torch.Tensor:
    """How often each element of a tensor of SHAPE is covered."""
    counts = torch.zeros(SHAPE, dtype=torch.int64)
    for region in regions:
        counts[region.slices] += 1
    return counts


def test_numbers_of_a_region() -> None:
    region = Region(((1, 4), (0, 5)))
    assert (region.shape, region.numel, str(region)) == ((3, 5), 15, "[1:4, 0:5]")
    assert Region.whole((2, 3)) == Region(((0, 2), (0, 3)))
    assert (Region(()).numel, Region(()).shape) == (1, ())
    assert region.cut(0, 2, 9) == Region(((2, 4), (0, 5)))
    assert region.cut(0, 4, 9) is None
    assert Region(((2, 3), (1, 5))).inside(region) == Region(((1, 2), (1, 5)))


@given(REGIONS, REGIONS)
def test_intersection_and_rest(one: Region, two: Region) -> None:
    common = one.intersect(two)
    both = (mask(one) + mask(two)) == 2
    assert torch.equal(mask(*([common] if common else [])), both.long())
    rest = one.without(two)
    assert torch.equal(mask(*rest), mask(one) * (mask(two) == 0))  # each element once


@given(REGIONS, st.lists(REGIONS, max_size=5))
def test_what_is_missing_is_what_no_part_covers(needed: Region, parts: list[Region]) -> None:
    covered = mask(*parts) > 0
    assert torch.equal(mask(*missing(needed, parts)), mask(needed) * ~covered)
