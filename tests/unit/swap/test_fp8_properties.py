"""What holds for any matrix in FP8: shards, error, and quantising again; and how large the error is on weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pivot.swap.formats import BLOCK, BLOCK_POWER_OF_TWO, FORMATS, MXFP8, Format
from pivot.swap.fp8 import dequantise, quantise

BLOCKS = (BLOCK, BLOCK_POWER_OF_TWO, MXFP8)


@st.composite
def matrices(draw: st.DrawFn) -> Tensor:
    """Matrices of any size up to three blocks, with magnitudes over many orders, zeros among them."""
    shape = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = 2.0 ** torch.randint(-30, 10, (shape[0], 1), generator=generator)
    values = torch.randn(shape, generator=generator) * scale * draw(st.sampled_from([1.0, 1e-30, 1e25]))
    values[torch.rand(shape, generator=generator) < 0.1] = 0.0
    return values.to(draw(st.sampled_from([torch.float32, torch.bfloat16])))


@given(matrices(), st.sampled_from(BLOCKS), st.data())
@settings(max_examples=100, deadline=None)
def test_a_shard_on_the_grid_is_the_region_of_the_whole(matrix: Tensor, format: Format, data: st.DataObject) -> None:
    assert format.block is not None
    whole = quantise(matrix, format)
    region, grid = [], []
    for size, unit in zip(matrix.shape, format.block, strict=True):
        first = data.draw(st.integers(0, (size - 1) // unit))
        last = data.draw(st.integers(first + 1, -(-size // unit)))
        region.append(slice(first * unit, last * unit))
        grid.append(slice(first, last))
    part = quantise(matrix[tuple(region)], format)
    assert torch.equal(part.payload.view(torch.uint8), whole.payload.view(torch.uint8)[tuple(region)])
    assert torch.equal(part.scales, whole.scales[tuple(grid)])


@given(matrices(), st.sampled_from(list(FORMATS.values())))
@settings(max_examples=100, deadline=None)
def test_the_error_is_half_a_step(matrix: Tensor, format: Format) -> None:
    """2**-4 of a value, or half of e4m3's smallest number in the block's scale, whichever is more."""
    found = quantise(matrix, format)
    values, exact = dequantise(found, torch.float32).double(), matrix.double()
    one = torch.full(matrix.shape, 0x38, dtype=torch.uint8)  # 1.0: gives the scale of each value
    scale = dequantise(type(found)(one, found.scales, found.shape, format), torch.float32).double()
    bound = torch.maximum(exact.abs() * 2.0**-4, scale * 2.0**-10)
    assert bool(((values - exact).abs() <= bound + exact.abs() * 2.0**-20 + 2.0**-149).all())
    assert bool((values.abs() <= 448 * scale * (1 + 2.0**-20)).all())


@given(matrices(), st.sampled_from(list(FORMATS.values())))
@settings(max_examples=100, deadline=None)
def test_quantising_again_changes_nothing(matrix: Tensor, format: Format) -> None:
    """Exactly where scales are powers of two; scales in float32 may move by a rounding, and the bytes stay."""
    once = quantise(matrix.float(), format)
    values = dequantise(once, torch.float32)
    again = quantise(values, format)
    if format in (BLOCK_POWER_OF_TWO, MXFP8):
        assert torch.equal(dequantise(again, torch.float32), values)
    else:
        assert torch.equal(again.payload.view(torch.uint8), once.payload.view(torch.uint8))
        assert bool(((again.scales - once.scales).abs() <= once.scales * 2.0**-18).all())


def normal_weights() -> Tensor:
    """With a standard deviation of 0.02, as a model starts with."""
    return (torch.randn(1024, 2048, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()


def errors(weights: Tensor, format: Format) -> Tensor:
    return (dequantise(quantise(weights, format), torch.float32).double() - weights.double()).abs()


def test_error_on_weights() -> None:
    """The figures of docs/swap.md: root mean square, and mean, 99 % and largest of single weights."""
    exact = normal_weights().double().abs()
    for format in FORMATS.values():
        off = errors(normal_weights(), format)
        single = (off / exact)[exact > 0].sort().values
        measured = {
            "rms": float((off.square().mean() / exact.square().mean()).sqrt()),
            "mean": float(single.mean()),
            "99 %": float(single[int(0.99 * len(single))]),
        }
        assert 0.0262 < measured["rms"] < 0.0269, (format.name, measured)
        assert 0.0223 < measured["mean"] < 0.0227, (format.name, measured)
        assert 0.0545 < measured["99 %"] < 0.0595, (format.name, measured)
        assert float((off / exact.max()).max()) <= 2.0**-4


@pytest.mark.parametrize(("name", "rms"), [("block", 0.0265), ("mxfp8", 0.0266), ("tensor", 0.953)])
def test_an_outlier_spoils_no_more_than_its_block(name: str, rms: float) -> None:
    weights = normal_weights()
    weights[0, 0] = 20000.0
    rest = slice(128, None)
    off, exact = errors(weights, FORMATS[name])[rest], weights[rest].double()
    assert float((off.square().mean() / exact.square().mean()).sqrt()) == pytest.approx(rms, abs=1e-3)
