"""How a part of a tensor lies in a buffer on its way between ranks. Arithmetic, and views of bytes.

What one rank sends another in a bucket is a segment: a header with the version of the weights, eight bytes for each
copy (its fingerprint; zero where the copy was not sent), then the copies, one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot.region import Region

HEADER = 64
"""Bytes of the header: the version in UTF-8, filled up with zeros."""
SLOT = 8
"""Bytes of a fingerprint."""
ALIGNMENT = 16
OVERHEAD = HEADER + ALIGNMENT
"""Most bytes that a segment adds to its copies."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How the parts of a tensor go over the wire.

    Attributes:
        dtype: of the policy's tensor.
    """

    dtype: torch.dtype

    def nbytes(self, region: Region) -> int:
        """Bytes of a part, without the header's."""
        return region.numel * self.dtype.itemsize

    def cost(self, region: Region) -> int:
        """Bytes that a part takes up in a segment, its fingerprint included."""
        return padded(self.nbytes(region)) + ALIGNMENT


def padded(size: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def layout(sizes: Sequence[int], start: int) -> tuple[list[int], list[int], int]:
    """Where the copies of a segment lie that begins at `start`.

    Args:
        sizes: Bytes of each copy.
        start: Position of the segment in the buffer, a multiple of `ALIGNMENT`.

    Returns:
        The position of every fingerprint, that of every copy, and the end of the segment.
    """
    slots = [start + HEADER + SLOT * i for i in range(len(sizes))]
    end, offsets = start + padded(HEADER + SLOT * len(sizes)), []
    for size in sizes:
        offsets.append(end)
        end += padded(size)
    return slots, offsets, end


def stamp(version: str) -> bytes:
    """The header of `version`; a long one is replaced by its hash."""
    text = version.encode()
    if len(text) > HEADER:
        text = hashlib.sha256(text).hexdigest().encode()
    return text.ljust(HEADER, b"\0")


def read_stamp(header: Tensor) -> str:
    """The version in a header: uint8 [HEADER]; what cannot be read is shown as it is."""
    return bytes(header.tolist()).rstrip(b"\0").decode("utf-8", "backslashreplace")


def at(buffer: Tensor, offset: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The tensor that lies at `offset` of a uint8 buffer, as a view."""
    size = dtype.itemsize
    for length in shape:
        size *= length
    return buffer[offset : offset + size].view(dtype).view(*shape)
