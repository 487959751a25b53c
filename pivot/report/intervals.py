"""Confidence intervals of proportions: what a success rate over so many trials is worth."""

import math

Z95 = 1.959963984540054
"""The standard normal's 97.5 % point: two-sided 95 % intervals."""


def wilson(successes: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22, 1927); unlike the normal one it holds near 0 and 1.

    Args:
        successes: of `n` trials.
        n: at least 1.
        z: normal quantile of the level.

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: `n` is not positive, or `successes` not within 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"no proportion: {successes} of {n}")
    rate = successes / n
    middle = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At 0 and n successes a bound is 0 or 1 exactly; rounding must not leave it a hair beside.
    low = 0.0 if successes == 0 else (middle - half) / scale
    high = 1.0 if successes == n else (middle + half) / scale
    return low, high


def difference(
    base_successes: int, base_n: int, trained_successes: int, trained_n: int, z: float = Z95
) -> tuple[float, float, float]:
    """Trained minus base rate with Newcombe's hybrid score interval for independent samples.

    Method 10 of Newcombe, Statistics in Medicine 17 (1998) 873-890.

    Returns:
        Difference, lower and upper bound, in [-1, 1].

    Raises:
        ValueError: as `wilson`.
    """
    base_low, base_high = wilson(base_successes, base_n, z)
    low, high = wilson(trained_successes, trained_n, z)
    base, trained = base_successes / base_n, trained_successes / trained_n
    gain = trained - base
    down = math.hypot(trained - low, base_high - base)
    up = math.hypot(high - trained, base - base_low)
    return gain, gain - down, gain + up
