"""FP8 blocks by Transformer Engine's own kernels, where there is a CUDA device that has them. Never run so far.

tests/unit/swap/test_te.py holds the calls against the sources of Transformer Engine.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import Tensor

from pivot.swap.formats import E4M3, Format, Quantised, Shape

Version = tuple[int, int]


def takes(tensor: Tensor, format: Format) -> bool:
    """Whether ``quantise`` here does this matrix; torch's operators give the same bytes where it does not."""
    if tensor.device.type != "cuda" or importlib.util.find_spec("transformer_engine") is None:
        return False
    return fits(format, tuple(tensor.shape), torch.cuda.get_device_capability(tensor.device))


def fits(format: Format, shape: Shape, capability: Version) -> bool:
    """Whether the kernels of Transformer Engine 2.9 and later do this format on such a device.

    Elsewhere they refuse, or, worse, are compiled to nothing (MXFP8 below 10.0).

    Args:
        format: to quantise to.
        shape: rows and columns.
        capability: compute capability of the device.
    """
    if not all(shape):
        return False
    if format.block is None:
        return capability >= (8, 9)
    if not format.scale.is_floating_point:
        return (10, 0) <= capability < (12, 0) and all(size % 32 == 0 for size in shape)
    return capability >= (9, 0) and (format.power_of_two or capability < (10, 0))


@torch.no_grad()
def quantise(tensor: Tensor, format: Format) -> Quantised:
    """``pivot.swap.fp8.quantise`` on a CUDA device.

    Args:
        tensor: [rows, columns] on a device that ``fits``.
        format: how to cut and scale it.
    """
    import transformer_engine.pytorch  # loads the library that the next one is linked to
    import transformer_engine_torch as tex

    quantizer = _quantizer(transformer_engine.pytorch, tex.DType.kFloat8E4M3, tensor.device, format)
    tensor = tensor.contiguous()
    # kernels load 16 bytes at once
    found = quantizer(tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()).get_metadata()
    shape: Shape = tuple(tensor.shape)
    if format.block is None:
        return Quantised(found["data"].view(E4M3), found["fp8_scale_inv"].reshape(()), shape, format)
    # scales are padded for the matrix product
    rows, columns = format.scale_shape(shape)
    scales = found["rowwise_scale_inv"][:rows, :columns].contiguous()
    return Quantised(found["rowwise_data"].view(E4M3), scales, shape, format)


def _quantizer(engine: Any, dtype: Any, device: torch.device, format: Format) -> Any:
    """The quantizer of Transformer Engine for ``format``, for what is multiplied along rows only."""
    if format.block is None:
        return engine.Float8CurrentScalingQuantizer(
            dtype, device, rowwise=True, columnwise=False,
            force_pow_2_scales=format.power_of_two, amax_epsilon=format.epsilon,
        )  # fmt: skip
    if not format.scale.is_floating_point:
        return engine.MXFP8Quantizer(dtype, rowwise=True, columnwise=False)
    return engine.Float8BlockQuantizer(
        dtype, rowwise=True, columnwise=False, amax_epsilon=format.epsilon,
        force_pow_2_scales=format.power_of_two, block_scaling_dim=2,
    )  # fmt: skip
