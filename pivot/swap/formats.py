"""How weights look on the wire: FP8 formats, the shape of their scales and the bytes they take. No arithmetic.

Every format holds e4m3 values (``float8_e4m3fn``: 4 bits of exponent, 3 of mantissa, largest 448, no infinity) and one
scale a block, by which a value is multiplied to get the weight back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

Shape = tuple[int, ...]

LARGEST = 448.0
E4M3 = torch.float8_e4m3fn


@dataclass(frozen=True, slots=True)
class Format:
    """One way to cut a matrix [rows, columns] into blocks that share a scale.

    Attributes:
        name: as in the configuration and in messages.
        block: rows and columns of a block; None: the whole matrix is one.
        scale: dtype of the scales: float32, or uint8 for E8M0 (an exponent with bias 127, 255 is not a number).
        suffix: what the scales' name adds to the weight's; vLLM asks for it.
        power_of_two: whether float32 scales are rounded to powers of two.
        epsilon: lower bound of a block's largest magnitude, as Transformer Engine's ``amax_epsilon``.
    """

    name: str
    block: tuple[int, int] | None
    scale: torch.dtype
    suffix: str
    power_of_two: bool = False
    epsilon: float = 0.0

    def scale_shape(self, shape: Shape) -> Shape:
        """Shape of the scales of a matrix: blocks along rows and columns, or () when there is one scale."""
        if self.block is None:
            return ()
        rows, columns = shape
        return -(-rows // self.block[0]), -(-columns // self.block[1])

    def nbytes(self, shape: Shape) -> int:
        """Bytes of a matrix and its scales."""
        return math.prod(shape) + math.prod(self.scale_shape(shape)) * self.scale.itemsize

    def scale_name(self, name: str) -> str:
        """The name under which an engine takes the scales of the weight ``name``."""
        return name + self.suffix


# 128x128 blocks as in DeepSeek's and Qwen's FP8 checkpoints; vLLM takes any float32 scales, powers of two among them
BLOCK = Format("block", (128, 128), torch.float32, "_scale_inv")
BLOCK_POWER_OF_TWO = Format("block_power_of_two", (128, 128), torch.float32, "_scale_inv", power_of_two=True)
# OCP Microscaling: 32 values along the last dimension
MXFP8 = Format("mxfp8", (1, 32), torch.uint8, "_scale")
TENSOR = Format("tensor", None, torch.float32, "_scale")

FORMATS: Mapping[str, Format] = MappingProxyType(
    {format.name: format for format in (BLOCK, BLOCK_POWER_OF_TWO, MXFP8, TENSOR)}
)


@dataclass(frozen=True, slots=True)
class Quantised:
    """A matrix in FP8.

    Attributes:
        payload: e4m3 values [rows, columns], ``float8_e4m3fn``, or their bytes as uint8 in any shape.
        scales: one a block, of ``format.scale`` and ``format.scale_shape(shape)``; a weight is payload * scale.
        shape: rows and columns.
        format: how it is cut.
    """

    payload: Tensor
    scales: Tensor
    shape: Shape
    format: Format

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return self.format.nbytes(self.shape)
