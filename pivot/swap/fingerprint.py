"""A 64-bit fingerprint of a part of a tensor: of its bytes, its name and which part it is."""

from __future__ import annotations

import hashlib
from functools import cache

import torch
from torch import Tensor

from pivot.region import Region

_BLOCK = 1 << 15
_MODULUS = 1 << 64
_STEP = 0x9E3779B97F4A7C15  # odd, so that no block's sum is lost


def fingerprint(name: str, region: Region, *data: Tensor) -> int:
    """Between 1 and 2^64 - 1; 0 is left to mean that there is none.

    A sum over 8-byte words of word times an odd weight of its place, modulo 2^64: a changed word always shows, one in
    another place does with all but certainty. Words are folded first, for else two flips of a word's highest bit
    cancelled each other. It finds mistakes, it does not withstand an adversary.

    Args:
        name: Of the tensor.
        region: Which part of it.
        data: The part, in one or several tensors of any dtype and layout.
    """
    label = hashlib.sha256(f"{name} {region}".encode()).digest()
    total = int.from_bytes(label[:8], "little")
    for tensor in data:
        total = (total * _STEP + _digest(tensor.contiguous().view(-1).view(torch.uint8))) % _MODULUS
    return total or 1


def _digest(data: Tensor) -> int:
    """Of uint8 [n]."""
    if data.storage_offset() % 8:
        data = data.clone()
    whole = data.numel() // 8 * 8
    words = data[:whole].view(torch.int64)
    weights = _weights(str(data.device))
    sums = []
    for block in words.split(_BLOCK):
        folded = block >> 32
        folded ^= block
        places = weights[: block.numel()]
        sums.append((folded * places).sum() if data.is_cuda else folded.dot(places))
    total = int.from_bytes(bytes(data[whole:].tolist()), "little") + data.numel()
    for value in torch.stack(sums).tolist() if sums else ():
        total = (total * _STEP + value) % _MODULUS
    return total


@cache
def _weights(device: str) -> Tensor:
    """Odd int64 [_BLOCK], the same on every device."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(0, 1 << 32, (2, _BLOCK), generator=generator)
    return ((half[0] << 32) | half[1] | 1).to(device)
