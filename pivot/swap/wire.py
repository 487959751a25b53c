"""How a part of a tensor lies in a buffer on its way between ranks. Arithmetic, and views of bytes.

What one rank sends another in a bucket is a segment: a header with the version of the weights, eight bytes for each
copy (its fingerprint; zero where the copy was not sent), then the copies, one after the other. A copy is one plane, or
two where it is quantised: FP8 values, then their scales.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot.region import Region
from pivot.swap.formats import E4M3, Format, Quantised
from pivot.swap.fp8 import dequantise, quantise

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
        dtype: Of the policy's tensor.
        format: What its owners quantise it to; None: it goes as it is.
        late: What the receiver quantises it to, where owners cannot, for their parts cut through blocks.
        loaded: Engines load values and scales; False: they load what those stand for, in the policy's dtype.
    """

    dtype: torch.dtype
    format: Format | None = None
    late: Format | None = None
    loaded: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of a block that must stay in one part."""
        return (self.format.block if self.format else None) or (1, 1)

    def planes(self, region: Region) -> tuple[tuple[torch.dtype, Region], ...]:
        """Dtype of each plane of a part, and the rectangle that it is of the whole plane."""
        if self.format is None:
            return ((self.dtype, region),)
        if self.format.block is None:  # one scale, of the whole tensor
            return (E4M3, region), (self.format.scale, Region(()))
        blocks = zip(region.bounds, self.format.block, strict=True)
        scales = Region(tuple((start // size, -(-stop // size)) for (start, stop), size in blocks))
        return (E4M3, region), (self.format.scale, scales)

    def nbytes(self, region: Region) -> int:
        """Bytes of a part in a segment, without its fingerprint."""
        return sum(padded(plane.numel * dtype.itemsize) for dtype, plane in self.planes(region))

    def cost(self, region: Region) -> int:
        """Bytes of a part in a segment, its fingerprint included."""
        return self.nbytes(region) + ALIGNMENT

    def read(self, buffer: Tensor, offset: int, region: Region) -> tuple[Tensor, ...]:
        """The planes of a part that lies at `offset` of a buffer, as views."""
        found = []
        for dtype, plane in self.planes(region):
            found.append(at(buffer, offset, dtype, plane.shape))
            offset += padded(plane.numel * dtype.itemsize)
        return tuple(found)

    def encode(self, part: Tensor) -> tuple[Tensor, ...]:
        """The planes of a part that this rank holds."""
        if self.format is None:
            return (part,)
        quantised = quantise(part, self.format)
        return quantised.payload, quantised.scales

    def faithful(self, part: Tensor, planes: tuple[Tensor, ...]) -> bool:
        """Whether quantised planes stand for the part that they were made of, as well as e4m3 can.

        Three bits of mantissa are half a sixteenth off at most, and no more than half of the smallest subnormal (2^-10
        of where the block's scale puts one) below that; the largest value may stand at 224 where scales are powers of
        two.
        """
        if self.format is None:
            return True
        part = part.float()
        back = Wire(torch.float32, self.format).decode(planes)
        allowed = part.abs() / 16 + part.abs().max() / 224 * 2**-9
        return bool(((back - part).abs() <= allowed).all())

    def loads(self, name: str) -> tuple[str, ...]:
        """Under which names an engine loads the tensor `name`."""
        format = self.format or self.late
        return (name, format.scale_name(name)) if self.loaded and format else (name,)

    def load(self, planes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What an engine loads of the planes of a part, a tensor for each name."""
        if not self.loaded or (self.format or self.late) is None:
            return (self.decode(planes),)
        if self.late is None:
            return planes
        quantised = quantise(planes[0], self.late)
        return quantised.payload, quantised.scales

    def decode(self, planes: tuple[Tensor, ...]) -> Tensor:
        """The tensor that the planes stand for, in the policy's dtype."""
        if self.late is not None:
            return dequantise(quantise(planes[0], self.late), self.dtype)
        if self.format is None:
            return planes[0]
        payload, scales = planes
        return dequantise(Quantised(payload, scales, tuple(payload.shape), self.format), self.dtype)


def aligned(region: Region, shape: Sequence[int], format: Format) -> bool:
    """Whether a part can be quantised by itself: it holds whole blocks of the tensor."""
    if format.block is None:
        return region == Region.whole(shape)
    return all(
        start % size == 0 and (stop % size == 0 or stop == length)
        for (start, stop), size, length in zip(region.bounds, format.block, shape, strict=True)
    )


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


def at(buffer: Tensor, offset: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """The tensor that lies at `offset` of a uint8 buffer, as a view."""
    return buffer[offset : offset + math.prod(shape) * dtype.itemsize].view(dtype).view(torch.Size(shape))
