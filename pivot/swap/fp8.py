"""Weights to FP8 blocks and back, bit for bit as Transformer Engine does it, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from pivot.swap.formats import Format, Quantised


def quantise(tensor: Tensor, format: Format) -> Quantised:
    """A matrix [rows, columns] in FP8."""
    raise NotImplementedError


def dequantise(quantised: Quantised, dtype: torch.dtype) -> Tensor:
    """The matrix [rows, columns] that FP8 values and scales stand for, in ``dtype``."""
    raise NotImplementedError
