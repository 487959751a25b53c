"""FP8 blocks in float64, one block after the other, written from the formats' definitions.

Nothing here is shared with ``pivot.swap``. Products and quotients of two float32 numbers are taken in float64 and then
rounded to float32, which is the same as rounding them once: float64 has more than twice the bits.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


def decoded(code: int) -> float:
    """The number that a byte of e4m3 stands for (OCP 8-bit floating point, section 5)."""
    exponent, mantissa = code >> 3 & 0xF, code & 0x7
    if exponent == 15 and mantissa == 7:
        return math.nan
    size = math.ldexp(mantissa, -9) if exponent == 0 else math.ldexp(8 + mantissa, exponent - 10)
    return -size if code & 0x80 else size


MAGNITUDES = [decoded(code) for code in range(0x7F)]  # ascending; the index is the byte
MIDPOINTS = np.array([(low + high) / 2 for low, high in pairwise(MAGNITUDES)])


def encoded(values: Values) -> NDArray[np.uint8]:
    """Nearest e4m3 bytes; a tie goes to the even byte; saturates; NaN has no sign."""
    size = np.abs(values)
    low = np.searchsorted(MIDPOINTS, size, side="left")  # a tie goes down
    high = np.searchsorted(MIDPOINTS, size, side="right")  # a tie goes up
    code = np.where(low % 2 == 0, low, high)
    code = code | np.where(np.signbit(values), 0x80, 0)
    return np.where(np.isnan(values), 0x7F, code).astype(np.uint8)


def single(value: float) -> float:
    """Rounded to float32."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.float32(value))


def float32_scale(amax: float, largest: float, power_of_two: bool, epsilon: float) -> tuple[float, float]:
    """(what values are multiplied by, what is sent). ``largest`` is the greatest number of the weight's dtype."""
    amax = max(amax, single(epsilon))
    if amax == 0 or math.isinf(amax):
        return 1.0, 1.0
    factor = single(448 / amax)
    if math.isinf(factor):
        factor = largest
    if power_of_two:
        factor = math.ldexp(0.5, math.frexp(factor)[1])
    return factor, single(1 / factor)


def e8m0_scale(amax: float) -> tuple[float, int]:
    """(what values are multiplied by, the exponent that is sent)."""
    wanted = single(amax * single(1 / 448))
    if math.isinf(wanted):
        code = 254
    elif wanted <= 2.0**-127:
        code = 0
    else:
        mantissa, exponent = math.frexp(wanted)  # mantissa in [0.5, 1)
        code = exponent - (mantissa == 0.5) + 127
    return 2.0 ** (127 - code), code


def blocks(rows: int, columns: int, height: int, width: int) -> list[tuple[int, int, tuple[slice, slice]]]:
    """(row and column in the grid, region) of every block of a matrix."""
    return [
        (i, j, (slice(i * height, (i + 1) * height), slice(j * width, (j + 1) * width)))
        for i in range(math.ceil(rows / height))
        for j in range(math.ceil(columns / width))
    ]


def quantised(
    values: Values, block: tuple[int, int], scale: str, *, largest: float, epsilon: float = 0.0
) -> tuple[NDArray[np.uint8], Values]:
    """Bytes [rows, columns] and scales [blocks, blocks] of a matrix.

    Args:
        values: that float32 can hold.
        block: rows and columns of one.
        scale: "float32", "power_of_two" or "e8m0".
        largest: greatest number of the dtype that the values come from.
        epsilon: lower bound of the largest magnitude.
    """
    grid = blocks(*values.shape, *block)
    codes = np.zeros(values.shape, np.uint8)
    scales = np.zeros((grid[-1][0] + 1, grid[-1][1] + 1))
    for i, j, region in grid:
        found = np.abs(values[region])
        amax = float(np.max(found, initial=0.0, where=~np.isnan(found)))
        if scale == "e8m0":
            factor, sent = e8m0_scale(amax)
        else:
            factor, sent = float32_scale(amax, largest, scale == "power_of_two", epsilon)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            codes[region] = encoded((values[region] * factor).astype(np.float32).astype(np.float64))
        scales[i, j] = sent
    return codes, scales


def dequantised(codes: NDArray[np.uint8], scales: Values, block: tuple[int, int], scale: str) -> Values:
    """Values [rows, columns], as float32 holds them."""
    table = np.array([decoded(code) for code in range(256)])
    result = np.zeros(codes.shape)
    for i, j, region in blocks(*codes.shape, *block):
        sent = float(scales[i, j])
        size = (math.nan if sent == 255 else 2.0 ** (sent - 127)) if scale == "e8m0" else sent
        with np.errstate(over="ignore", under="ignore"):
            result[region] = (table[codes[region]] * size).astype(np.float32)
    return result
