"""FP8 blocks, bit for bit: against the definitions in float64, and where Transformer Engine has a rule of its own."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pivot.swap import fp8
from pivot.swap.formats import BLOCK, BLOCK_POWER_OF_TWO, FORMATS, MXFP8, TENSOR, Format, Quantised
from pivot.swap.fp8 import dequantise, quantise
from tests.unit.swap import fp8_reference as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
KINDS = {"block": "float32", "block_power_of_two": "power_of_two", "mxfp8": "e8m0", "tensor": "float32"}
# of bfloat16; float16's smallest numbers do not make a quotient overflow
BFLOAT16, FLOAT32 = 3.3895313892515355e38, 3.4028234663852886e38


def payload(quantised: Quantised) -> list[list[int]]:
    return quantised.payload.view(torch.uint8).tolist()


def expected(tensor: Tensor, format: Format) -> tuple[np.ndarray, np.ndarray]:
    """Bytes and scales in float64."""
    largest = FLOAT32 if format.block is None else torch.finfo(tensor.dtype).max
    block = format.block or tuple(tensor.shape)
    codes, scales = reference.quantised(
        tensor.double().numpy(), block, KINDS[format.name], largest=largest, epsilon=format.epsilon
    )
    return codes, scales.reshape(format.scale_shape(tuple(tensor.shape)))


def check(tensor: Tensor, format: Format) -> None:
    """Equal bytes and scales, and the way back."""
    found = quantise(tensor, format)
    codes, scales = expected(tensor, format)
    assert found.payload.dtype == torch.float8_e4m3fn
    assert found.scales.dtype == format.scale
    np.testing.assert_array_equal(found.payload.view(torch.uint8).numpy(), codes)
    np.testing.assert_array_equal(found.scales.double().numpy(), scales)
    block = format.block or tuple(tensor.shape)
    values = reference.dequantised(codes, np.atleast_2d(scales), block, KINDS[format.name])
    np.testing.assert_array_equal(dequantise(found, torch.float32).double().numpy(), values)


def spread(shape: tuple[int, int], dtype: torch.dtype, seed: int) -> Tensor:
    """Normal values whose rows differ by many orders of magnitude, so that all of e4m3 occurs."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator) * 2.0 ** torch.randint(-9, 9, (shape[0], 1), generator=generator)
    return values.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(256, 384), (128, 128), (200, 328), (1, 1), (130, 32), (7, 129), (1030, 513)])
def test_bytes_are_those_of_the_definition(shape: tuple[int, int], name: str, dtype: torch.dtype) -> None:
    check(spread(shape, dtype, seed=shape[0]), FORMATS[name])


@pytest.mark.parametrize("name", FORMATS)
def test_any_bit_pattern_gives_the_bytes_of_the_definition(name: str) -> None:
    bits = torch.randint(-(2**31), 2**31, (64, 256), generator=torch.Generator().manual_seed(3))
    check(bits.to(torch.int32).view(torch.float32), FORMATS[name])
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(256, 256)
    for dtype in (torch.bfloat16, torch.float16):
        check(halves[torch.randperm(256, generator=torch.Generator().manual_seed(4))].view(dtype), FORMATS[name])


def test_every_value_and_every_tie_is_rounded_to_even() -> None:
    """With 448 in the block the scale is 1, so that values are cast as they are."""
    levels = torch.arange(0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    ties = (levels[:-1] + levels[1:]) / 2
    above, below = ties.nextafter(torch.tensor(math.inf)), ties.nextafter(torch.tensor(0.0))
    even = torch.arange(0x7E) + torch.arange(0x7E) % 2
    for values, codes in (
        (levels, torch.arange(0x7F)),
        (ties, even),
        (above, torch.arange(1, 0x7F)),
        (below, torch.arange(0x7E)),
    ):
        for format in (BLOCK, BLOCK_POWER_OF_TWO, TENSOR):
            row = torch.cat([torch.tensor([448.0]), values])[None]
            for sign, bit in ((1, 0), (-1, 0x80)):
                found = quantise(row * sign, format)
                assert found.scales.flatten().tolist() == [1.0]
                assert payload(found)[0][1:] == [int(code) | bit for code in codes]


NAN = math.nan
# name, dtype, row of values, format, bytes, scales
CORNERS: list[tuple[str, torch.dtype, list[float], Format, list[int], list[float]]] = [
    ("zeros have scale 1 and keep their sign", torch.float32, [0.0, -0.0], BLOCK, [0x00, 0x80], [1.0]),
    ("of MX the least exponent", torch.float32, [0.0, -0.0], MXFP8, [0x00, 0x80], [0]),
    ("an infinity has scale 1 and becomes 448", torch.float32, [math.inf, 3.0, -math.inf, 1e30], BLOCK,
     [0x7E, 0x44, 0xFE, 0x7E], [1.0]),
    ("also where scales are powers of two", torch.bfloat16, [-math.inf, 3.0], BLOCK_POWER_OF_TWO, [0xFE, 0x44], [1.0]),
    ("of MX the largest exponent", torch.float32, [math.inf, 3.0], MXFP8, [0x7E, 0x00], [254]),
    ("NaN is not in the amax and loses its sign", torch.float32, [NAN, -NAN, 448.0, -1.0], BLOCK,
     [0x7F, 0x7F, 0x7E, 0xB8], [1.0]),
    ("nor for MX", torch.bfloat16, [NAN, -NAN, 448.0, -1.0], MXFP8, [0x7F, 0x7F, 0x7E, 0xB8], [127]),
    ("nor for one scale", torch.float16, [NAN, -NAN, 448.0, -1.0], TENSOR, [0x7F, 0x7F, 0x7E, 0xB8], [1.0]),
    ("only NaN is like zeros", torch.float32, [NAN, -NAN], BLOCK, [0x7F, 0x7F], [1.0]),
    ("448 / amax overflows in float32", torch.float32, [2.0**-149, 0.0], BLOCK, [0x00, 0x00], [1 / FLOAT32]),
    ("just so", torch.float32, [1.3e-36, 1e-37], BLOCK, [0x7E, 0x61], [1 / FLOAT32]),
    ("bfloat16 has another largest number", torch.bfloat16, [2.0**-120, 0.0], BLOCK, [0x78, 0x00], [1 / BFLOAT16]),
    ("one scale always takes float32's", torch.bfloat16, [2.0**-120, 0.0], TENSOR, [0x78, 0x00], [1 / FLOAT32]),
    ("both round down to the same power", torch.bfloat16, [2.0**-120, 0.0], BLOCK_POWER_OF_TWO, [0x70, 0x00],
     [2.0**-127]),
    ("a power of two rounds down", torch.float32, [449.0, 225.0], BLOCK_POWER_OF_TWO, [0x76, 0x6E], [2.0]),
    ("and stays where it is one", torch.float32, [448.0, 224.0], BLOCK_POWER_OF_TWO, [0x7E, 0x76], [1.0]),
    ("E8M0 rounds up", torch.float32, [449.0, 225.0], MXFP8, [0x76, 0x6E], [128]),
    ("not at 448 exactly", torch.float32, [448.0, 224.0], MXFP8, [0x7E, 0x76], [127]),
    ("not at 448 times the least power", torch.float32, [448 * 2.0**-127, 0.0], MXFP8, [0x7E, 0x00], [0]),
    ("and the next one up", torch.float32, [449 * 2.0**-127, 0.0], MXFP8, [0x76, 0x00], [1]),
    ("subnormal weights are not flushed", torch.float32, [2.0**-130, -(2.0**-149)], MXFP8, [0x20, 0x80], [0]),
    ("epsilon is the least amax", torch.float32, [1.0, -0.5], dataclasses.replace(BLOCK, epsilon=448.0), [0x38, 0xB0],
     [1.0]),
    ("also for zeros", torch.float32, [0.0, 0.0], dataclasses.replace(BLOCK, epsilon=1.0), [0, 0],
     [1 / 448.0]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "row", "format", "codes", "scales"), [c[1:] for c in CORNERS], ids=[c[0] for c in CORNERS]
)
def test_corner_cases(
    dtype: torch.dtype, row: list[float], format: Format, codes: list[int], scales: list[float]
) -> None:
    tensor = torch.tensor([row], dtype=dtype)
    found = quantise(tensor, format)
    assert payload(found) == [codes]
    assert found.scales.flatten().tolist() == [float(np.float32(scale)) for scale in scales]
    check(tensor, format)


def test_the_scale_is_the_quotient_rounded_once() -> None:
    """448 times the reciprocal of amax, which torch computes for a number over a tensor, is another float32."""
    amax = 1 + torch.arange(1, 2000)[:, None] / 2048
    once = torch.tensor([float(np.float32(1 / float(np.float32(448 / float(a))))) for a in amax.flatten()])
    found = torch.stack([quantise(a[None], BLOCK).scales.flatten() for a in amax])
    assert torch.equal(found.flatten(), once)
    twice = 1 / (amax.reciprocal() * 448).flatten()
    assert not torch.equal(twice, once)


def test_e8m0_of_every_exponent_goes_back() -> None:
    """The scale's byte 0 is 2**-127, a subnormal, and 255 is not a number."""
    codes = torch.full((256, 32), 0x38, dtype=torch.uint8)  # 1.0
    exponents = torch.arange(256, dtype=torch.uint8)[:, None]
    values = dequantise(Quantised(codes, exponents, (256, 32), MXFP8), torch.float32)
    assert values[:255, 0].tolist() == [2.0 ** (code - 127) for code in range(255)]
    assert values[255].isnan().all()


def test_bytes_from_the_wire_go_back_like_values() -> None:
    tensor = spread((130, 200), torch.bfloat16, seed=0)
    for format in FORMATS.values():
        found = quantise(tensor, format)
        flat = dataclasses.replace(found, payload=found.payload.view(torch.uint8).flatten())
        for dtype in DTYPES:
            values = dequantise(flat, dtype)
            assert values.dtype == dtype
            assert torch.equal(values, dequantise(found, torch.float32).to(dtype))


def test_the_tensor_is_left_alone_and_needs_no_gradient() -> None:
    tensor = spread((64, 64), torch.float32, seed=0).requires_grad_()
    before = tensor.detach().clone()
    found = quantise(tensor, BLOCK)
    assert torch.equal(tensor, before)
    assert not found.payload.requires_grad
    assert not found.scales.requires_grad


def test_strides_do_not_matter() -> None:
    tensor = spread((256, 384), torch.bfloat16, seed=1)
    for format in FORMATS.values():
        found = quantise(tensor.t().contiguous().t(), format)
        assert payload(found) == payload(quantise(tensor, format))
        assert found.payload.is_contiguous()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("shape", "most"), [((3000, 1030), 1 << 20), ((200, 1 << 16), 128 << 16)])
def test_float32_copies_do_not_grow_with_the_matrix(
    monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, int], most: int
) -> None:
    """Nor do they cut it elsewhere than between blocks: strips of 2**20 values, or of one row of blocks."""
    sizes: list[int] = []

    def spied(strip: Tensor, format: Format) -> Tensor:
        sizes.append(strip.numel())
        return tiles(strip, format)

    tiles = fp8._tiles
    monkeypatch.setattr(fp8, "_tiles", spied)
    tensor = spread(shape, torch.bfloat16, seed=0)
    values = dequantise(quantise(tensor, FORMATS[name]), torch.float32)
    assert max(sizes) <= (most if name.startswith("block") else 1 << 20)
    assert sum(sizes) == tensor.numel() * (3 if name == "tensor" else 2)
    monkeypatch.setattr(fp8, "_STRIP", tensor.numel() + 128 * shape[1])
    sizes.clear()
    assert torch.equal(dequantise(quantise(tensor, FORMATS[name]), torch.float32), values)
    assert min(sizes) == tensor.numel()


@pytest.mark.parametrize("shape", [(0, 64), (64, 0)])
def test_nothing_to_quantise(shape: tuple[int, int]) -> None:
    for format in FORMATS.values():
        found = quantise(torch.zeros(shape), format)
        assert tuple(found.payload.shape) == shape
        assert tuple(found.scales.shape) == format.scale_shape(shape)
        assert tuple(dequantise(found, torch.bfloat16).shape) == shape
    assert quantise(torch.zeros(shape), TENSOR).scales.item() == 1.0


@pytest.mark.parametrize("tensor", [torch.zeros(4), torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.float64)])
def test_what_is_no_matrix_is_refused(tensor: Tensor) -> None:
    with pytest.raises(ValueError, match=r"FP8 takes a matrix in float32, bfloat16 or float16, not torch\.float"):
        quantise(tensor, BLOCK)


@pytest.mark.parametrize(
    ("name", "nbytes"), [("block", 130 * 200 + 4 * 4), ("mxfp8", 130 * 200 + 130 * 7), ("tensor", 26004)]
)
def test_bytes_on_the_wire(name: str, nbytes: int) -> None:
    found = quantise(spread((130, 200), torch.bfloat16, seed=0), FORMATS[name])
    assert found.nbytes == nbytes
    assert found.payload.nbytes + found.scales.nbytes == nbytes
