"""Weights to FP8 blocks and back, bit for bit as Transformer Engine does it, on any device.

The rules and where they are written, in the sources of Transformer Engine (2.9 to 2.18) and of CUDA:

- The largest magnitude of a block (amax) ignores NaN: ``transpose/quantize_transpose_square_blockwise.cu``,
  ``recipe/current_scaling.cu``. What a block has beyond the matrix's borders counts as zeros.
- float32 scales follow ``compute_scale_from_amax`` in ``recipe/recipe_common.cuh``: amax is raised to epsilon, 448/amax
  rounded once; a quotient that overflows becomes the largest number of the weight's dtype (of float32 where a matrix
  has one scale); a power of two drops the mantissa, which rounds down; amax 0 and infinity give 1. What is sent is the
  reciprocal, rounded once.
- E8M0 scales follow ``float_to_e8m0`` in ``util/ptx.cuh``: amax times the float32 nearest to 1/448, rounded up to a
  power of two; 2**-127 for all that is less, 2**127 for infinity. Values are multiplied by ``exp2f_rcp`` of it as it is
  from 2.13 on. Before, it was 1 for 2**-127, which makes zeros of blocks below 2.7e-36, and 0 for 2**127, which makes
  NaN of an infinity.
- Values are scaled in float32 and converted as ``__nv_cvt_float_to_fp8`` in ``cuda_fp8.hpp`` says: to the nearest, ties
  to even; 448 for all that is more and for infinity, 0x7F for every NaN; zero keeps its sign. torch's cast is the same
  but for NaN, whose sign it keeps.
- Back: value times scale in float32, then rounded to the dtype that is asked for
  (``pytorch/tensor/storage/float8_blockwise_tensor_storage.py``, ``cast/mxfp8/dequantize_mxfp8.cuh``). E8M0 is read as
  it is defined (OCP Microscaling, 5.4.1), which Transformer Engine does after 2.18: 2**-127 was 0 before.

Transformer Engine's references in Python (``tests/pytorch/references``) differ from its kernels for blocks with NaN or
infinity: the kernels are followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from pivot.swap import te
from pivot.swap.formats import E4M3, LARGEST, Format, Quantised, Shape

# values of a strip of rows, which is worked on at once in float32: the extra memory is twice that
_STRIP = 1 << 20
_LARGEST_EXPONENT = 254  # of E8M0, with bias 127; 255 is not a number
_MANTISSA = 0x007FFFFF  # of float32
_HALF_SMALLEST = 0x00400000  # 2**-127 in float32, which has it as a subnormal


def quantise(tensor: Tensor, format: Format) -> Quantised:
    """A matrix in FP8.

    A shard whose borders lie on the grid of blocks becomes the same bytes as its region of the whole matrix (with one
    scale a matrix there is no such shard). Beside the result it needs 8 MB, or more where a row of blocks does.

    Args:
        tensor: [rows, columns], float32, bfloat16 or float16, of any strides.
        format: how to cut and scale it.

    Raises:
        ValueError: not a matrix of such a dtype.
    """
    if tensor.dim() != 2 or tensor.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise ValueError(f"FP8 takes a matrix in float32, bfloat16 or float16, not {tensor.dtype} {list(tensor.shape)}")
    return (te.quantise if te.takes(tensor, format) else _quantise)(tensor.detach(), format)


def dequantise(quantised: Quantised, dtype: torch.dtype) -> Tensor:
    """The matrix that values and scales stand for: what an engine gets that does not compute in FP8.

    Args:
        quantised: payload and scales, on one device.
        dtype: of the result.

    Returns:
        [rows, columns] on that device.
    """
    format, shape = quantised.format, quantised.shape
    values, scales = quantised.payload.view(torch.uint8).reshape(shape), quantised.scales
    if not format.scale.is_floating_point:
        scales = scales.view(torch.float8_e8m0fnu).float()
    # a CPU looks values up much faster than torch casts them
    table = torch.arange(256, dtype=torch.uint8, device=values.device).view(E4M3).float()
    result = torch.empty(shape, dtype=dtype, device=values.device)
    for rows, blocks in _strips(shape, format):
        strip = values[rows]
        tiles = _tiles(table.index_select(0, strip.flatten().int()).view(strip.shape), format)
        tiles *= scales if format.block is None else scales[blocks, None, :, None]
        result[rows] = _matrix(tiles, result[rows])
    return result


def _quantise(tensor: Tensor, format: Format) -> Quantised:
    """``quantise`` in torch's operators."""
    shape: Shape = tuple(tensor.shape)
    payload = torch.empty(shape, dtype=E4M3, device=tensor.device)
    scales = torch.empty(format.scale_shape(shape), dtype=format.scale, device=tensor.device)
    if format.block is None:
        amax = torch.zeros((), device=tensor.device)
        for rows, _ in _strips(shape, format):
            amax = torch.maximum(amax, _amax(_tiles(tensor[rows], format)).max())
        factor, scales = _factors(amax, format, torch.float32)
    for rows, blocks in _strips(shape, format):
        tiles = _tiles(tensor[rows], format)
        amax = _amax(tiles)
        if format.block is not None:
            factor, scales[blocks] = _factors(amax, format, tensor.dtype)
            factor = factor[:, None, :, None]
        payload[rows] = _matrix(tiles.mul_(factor), payload[rows])
    return Quantised(payload, scales, shape, format)


def _strips(shape: Shape, format: Format) -> Iterator[tuple[slice, slice]]:
    """Rows that are worked on at once, and the rows of the scales that are theirs."""
    rows, columns = shape
    height = format.block[0] if format.block else 1
    step = max(1, _STRIP // (height * columns)) if columns else rows
    for block in range(0, -(-rows // height) if columns else 0, step):
        yield slice(block * height, min((block + step) * height, rows)), slice(block, block + step)


def _tiles(strip: Tensor, format: Format) -> Tensor:
    """A float32 copy of some rows, cut into blocks and filled up with zeros.

    Returns:
        [blocks along rows, rows of a block, blocks along columns, columns of a block]
    """
    rows, columns = strip.shape
    height, width = format.block or (1, columns)
    values = strip.to(torch.float32, copy=True)
    if rows % height or columns % width:
        values = pad(values, (0, -columns % width, 0, -rows % height))
    return values.view(-(-rows // height), height, -(-columns // width), width)


def _matrix(tiles: Tensor, like: Tensor) -> Tensor:
    """Blocks [R, r, C, c] laid together again, in the shape of ``like`` [rows, columns]."""
    whole = tiles.view(tiles.shape[0] * tiles.shape[1], -1)
    return whole[: like.shape[0], : like.shape[1]]


def _amax(tiles: Tensor) -> Tensor:
    """The largest magnitude in each block [R, r, C, c] -> [R, C], of what is a number.

    Every NaN is made positive on the way, for the cast to e4m3.
    """
    amax = tiles.abs().amax((1, 3))
    if amax.isnan().any():
        broken = tiles.isnan()
        amax = tiles.masked_fill(broken, 0.0).abs().amax((1, 3))
        tiles.masked_fill_(broken, math.nan)
    return amax


def _factors(amax: Tensor, format: Format, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What the values of a block are multiplied by, and the scale that is sent.

    Args:
        amax: largest magnitudes, float32, not NaN.
        format: of the scales.
        dtype: whose largest number stands in for a factor that overflows.

    Returns:
        Two tensors of the shape of ``amax``: float32, and ``format.scale``.
    """
    if not format.scale.is_floating_point:
        bits = (amax * (1.0 / LARGEST)).view(torch.int32)
        exponent = torch.where(bits <= _HALF_SMALLEST, 0, (bits + _MANTISSA) >> 23).clamp_(max=_LARGEST_EXPONENT)
        undo = torch.where(exponent == _LARGEST_EXPONENT, _HALF_SMALLEST, (_LARGEST_EXPONENT - exponent) << 23)
        return undo.to(torch.int32).view(torch.float32), exponent.to(torch.uint8)
    raised = amax.clamp(min=format.epsilon)
    # a scalar divided by a tensor would be rounded twice: torch takes the reciprocal first
    factor = torch.full_like(raised, LARGEST).div_(raised)
    factor = torch.where(factor.isinf(), torch.finfo(dtype).max, factor)
    if format.power_of_two:
        factor = factor.view(torch.int32).bitwise_and(~_MANTISSA).view(torch.float32)
    factor = torch.where((raised == 0) | raised.isinf(), 1.0, factor)
    return factor, torch.ones_like(factor).div_(factor)
