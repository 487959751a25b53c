"""Intervals against published values: Newcombe, Statistics in Medicine 17 (1998), parts I and II."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.report.intervals import difference, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0000),
    ],
)
def test_wilson_published(successes: int, n: int, low: float, high: float) -> None:
    found = wilson(successes, n)
    assert (round(found[0], 4), round(found[1], 4)) == (low, high)


def test_wilson_by_hand() -> None:
    # n = 4, z = 2: middle (1/2 + 4/8) / 2 = 1/2, half 2 * sqrt(1/16 + 1/16) / 2 = sqrt(1/8).
    low, high = wilson(2, 4, z=2.0)
    assert low == pytest.approx(0.5 - 0.125**0.5, abs=1e-15)
    assert high == pytest.approx(0.5 + 0.125**0.5, abs=1e-15)


@pytest.mark.parametrize(
    ("trained", "base", "expected"),
    [
        ((56, 70), (48, 80), (0.2000, 0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.6000, 0.1705, 0.8090)),
        ((5, 56), (0, 29), (0.0893, -0.0381, 0.1926)),
        ((0, 10), (0, 10), (0.0000, -0.2775, 0.2775)),
        ((10, 10), (0, 20), (1.0000, 0.6791, 1.0000)),
    ],
)
def test_difference_published(
    trained: tuple[int, int], base: tuple[int, int], expected: tuple[float, float, float]
) -> None:
    assert tuple(round(value, 4) + 0.0 for value in difference(*base, *trained)) == expected


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"no proportion: {successes} of {n}"):
        wilson(successes, n)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_rate(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = wilson(n - successes, n)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)
