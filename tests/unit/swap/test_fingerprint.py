"""Fingerprints find what can go wrong on the way: other values, other places, other names."""

from __future__ import annotations

import hashlib

import pytest
import torch

from pivot.region import Region
from pivot.swap.fingerprint import _weights, fingerprint

REGION = Region(((0, 300), (0, 257)))
DATA = torch.randn(300, 257, generator=torch.Generator().manual_seed(0))
MARK = fingerprint("a", REGION, DATA)


def changed(index: int, mask: int) -> int:
    bytes_ = DATA.clone().view(torch.uint8).view(-1)
    bytes_[index] ^= mask
    return fingerprint("a", REGION, bytes_.view(torch.float32).view(300, 257))


def test_the_same_bytes_have_the_same_fingerprint_whatever_their_layout() -> None:
    assert fingerprint("a", REGION, DATA.t().contiguous().t()) == MARK
    wide = torch.zeros(300, 400)
    wide[:, :257] = DATA
    assert fingerprint("a", REGION, wide[:, :257]) == MARK
    assert 0 < MARK < 1 << 64


def test_the_value_is_what_is_written() -> None:
    """In whole numbers, word by word."""
    weights = [int(weight) for weight in _weights("cpu")]
    data = DATA.view(-1)[:77_099].contiguous()
    words = [int(word) for word in data[:77_098].view(torch.int64)]
    total = int(data[77_098:].view(torch.int32)) % 2**32 + 4 * 77_099
    for start in range(0, len(words), 32768):
        pairs = zip(words[start : start + 32768], weights, strict=False)
        total = total * 0x9E3779B97F4A7C15 + sum((word ^ word >> 32) * weight for word, weight in pairs)
    label = int.from_bytes(hashlib.sha256(b"a [0:77099]").digest()[:8], "little")
    expected = (label * 0x9E3779B97F4A7C15 + total) % 2**64
    assert fingerprint("a", Region(((0, 77_099),)), data) == expected
    assert all(weight % 2 for weight in weights)


@pytest.mark.parametrize("bit", range(8))
def test_every_changed_bit_shows(bit: int) -> None:
    for index in (0, 7, 8, 262143, 262144, 300 * 257 * 4 - 1, 300 * 257 * 4 - 4):
        assert changed(index, 1 << bit) != MARK


def test_another_name_part_or_order_shows() -> None:
    assert fingerprint("b", REGION, DATA) != MARK
    assert fingerprint("a", Region(((1, 301), (0, 257))), DATA) != MARK
    assert fingerprint("a", REGION, DATA.flip(0)) != MARK
    assert fingerprint("a", REGION, DATA.roll(1, 1)) != MARK
    blocks = DATA.view(-1)[: 2 * 32768].view(2, 32768)
    assert fingerprint("a", REGION, blocks) != fingerprint("a", REGION, blocks.flip(0))
    assert fingerprint("a", REGION, DATA, DATA[:1]) != fingerprint("a", REGION, DATA[:1], DATA)


def test_two_turned_signs_do_not_cancel() -> None:
    """The highest bits of two words: twice half of the modulus in a plain sum."""
    seen = set()
    for other in range(3, 400, 2):
        turned = DATA.clone().view(-1)
        turned[1] *= -1
        turned[other] *= -1
        seen.add(fingerprint("a", REGION, turned.view(300, 257)))
    assert MARK not in seen
    assert len(seen) == len(range(3, 400, 2))


def test_zeros_and_nothing_are_told_apart() -> None:
    marks = {fingerprint("a", REGION, torch.zeros(count)) for count in (0, 1, 2, 3, 1000)}
    assert len(marks) == 5


def test_small_and_odd_dtypes() -> None:
    for dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.uint8):
        data = DATA[:3, :3].to(dtype)
        assert fingerprint("a", REGION, data) == fingerprint("a", REGION, data.clone())
        other = data.clone()
        other.view(torch.uint8).view(-1)[-1] ^= 1
        assert fingerprint("a", REGION, other) != fingerprint("a", REGION, data)
    assert fingerprint("a", REGION, torch.tensor(2.0)) == fingerprint("a", REGION, torch.tensor([2.0]))
