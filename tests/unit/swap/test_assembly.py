"""Tensors put together from parts; what is missing, came twice, or is not what its owner sent."""

from __future__ import annotations

import pytest
import torch

from pivot.region import Region
from pivot.swap.assembly import Assembly
from pivot.swap.fingerprint import fingerprint
from pivot.swap.formats import FORMATS, Quantised
from pivot.swap.fp8 import dequantise, quantise
from pivot.swap.wire import Wire, aligned

CPU = torch.device("cpu")
FULL = torch.randn(256, 384, generator=torch.Generator().manual_seed(0))
WHOLE = Region.whole(FULL.shape)
TOP, LOW = Region(((0, 128), (0, 384))), Region(((128, 256), (0, 384)))


def made(wire: Wire, *parts: Region, needed: Region = WHOLE, marked: bool = True) -> Assembly:
    assembly = Assembly("a", FULL.shape, needed, wire, CPU)
    for part in parts:
        planes = wire.encode(FULL[part.slices])
        assembly.put(part, planes, fingerprint("a", part, *planes) if marked else None)
    return assembly


def only(assembly: Assembly) -> torch.Tensor:
    [(name, tensor)] = assembly.tensors()
    assert name == "a"
    return tensor


def test_plain_parts_make_the_tensor() -> None:
    assembly = made(Wire(torch.float32), LOW, TOP)
    assert (assembly.missing(), assembly.twice(), assembly.changed(), assembly.checks) == ([], [], [], 2)
    assert torch.equal(only(assembly), FULL)


@pytest.mark.parametrize("name", FORMATS)
def test_quantised_parts_make_what_the_whole_quantised_makes(name: str) -> None:
    format = FORMATS[name]
    parts = (WHOLE,) if format.block is None else (TOP, LOW)
    wire = Wire(torch.float32, format=format)
    assembly = made(wire, *parts)
    expected = dequantise(quantise(FULL, format), torch.float32)
    assert torch.equal(only(assembly), expected)
    assert assembly.changed() == []
    late = made(Wire(torch.float32, late=format), Region(((0, 5), (0, 384))), Region(((5, 256), (0, 384))))
    assert torch.equal(only(late), expected)


def test_a_slice_comes_in_the_full_shape() -> None:
    for wire in (Wire(torch.float32), Wire(torch.float32, format=FORMATS["block"])):
        tensor = only(made(wire, LOW, needed=LOW))
        assert tensor.shape == FULL.shape
        assert torch.equal(tensor[LOW.slices], wire.decode(wire.encode(FULL))[LOW.slices])


@pytest.mark.parametrize("name", FORMATS)
def test_an_engine_that_computes_in_fp8_gets_values_and_scales(name: str) -> None:
    format = FORMATS[name]
    whole = quantise(FULL, format)
    for wire in (Wire(torch.float32, format=format, loaded=True), Wire(torch.float32, late=format, loaded=True)):
        (first, values), (second, scales) = made(wire, WHOLE).tensors()
        assert (first, second) == ("a", format.scale_name("a"))
        assert torch.equal(values.view(torch.uint8), whole.payload.view(torch.uint8))
        assert torch.equal(scales, whole.scales)
    plain = Wire(torch.float32, loaded=True)
    assert torch.equal(only(made(plain, WHOLE)), FULL)


def test_a_slice_of_values_and_scales_comes_in_the_full_shapes() -> None:
    wire, whole = Wire(torch.float32, format=FORMATS["block"], loaded=True), quantise(FULL, FORMATS["block"])
    (_, values), (_, scales) = made(wire, LOW, needed=LOW).tensors()
    assert (values.shape, scales.shape) == (FULL.shape, (2, 3))
    assert torch.equal(values[LOW.slices].view(torch.uint8), whole.payload[LOW.slices].view(torch.uint8))
    assert torch.equal(scales[1:], whole.scales[1:])


def test_what_is_wrong_is_said() -> None:
    wire = Wire(torch.float32)
    assert made(wire, TOP).missing() == [LOW]
    assert made(wire).missing() == [WHOLE]
    assert made(wire, TOP, LOW, TOP).twice() == [TOP]
    assert made(wire, TOP, LOW, marked=False).checks == 0
    assembly = Assembly("a", FULL.shape, WHOLE, wire, CPU)
    assembly.put(TOP, (FULL[TOP.slices],), fingerprint("a", LOW, FULL[TOP.slices]))
    assembly.put(LOW, (FULL[LOW.slices],), fingerprint("a", LOW, FULL[LOW.slices]))
    assert assembly.changed() == [TOP]


def test_a_scale_is_part_of_the_fingerprint() -> None:
    wire = Wire(torch.float32, format=FORMATS["block"])
    payload, scales = wire.encode(FULL)
    assembly = Assembly("a", FULL.shape, WHOLE, wire, CPU)
    assembly.put(WHOLE, (payload, 2 * scales), fingerprint("a", WHOLE, payload, scales))
    assert assembly.changed() == [WHOLE]


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_quantised_stands_for_what_it_was_made_of(name: str) -> None:
    wire = Wire(torch.float32, format=FORMATS[name])
    for data in (FULL, 1e-3 * FULL, FULL * torch.logspace(-6, 6, 384), torch.zeros(256, 384)):
        payload, scales = wire.encode(data)
        assert wire.faithful(data, (payload, scales))
        if data.any():
            other = scales + 1 if scales.dtype is torch.uint8 else 2 * scales
            assert not wire.faithful(data, (payload, other))
    assert not wire.faithful(torch.zeros(256, 384), wire.encode(FULL))


def test_whole_blocks() -> None:
    block, mx, tensor = FORMATS["block"], FORMATS["mxfp8"], FORMATS["tensor"]
    shape = (300, 400)
    assert aligned(Region(((128, 300), (0, 400))), shape, block)
    assert not aligned(Region(((128, 299), (0, 400))), shape, block)
    assert not aligned(Region(((0, 300), (64, 400))), shape, block)
    assert aligned(Region(((7, 9), (64, 96))), shape, mx)
    assert not aligned(Region(((7, 9), (64, 90))), shape, mx)
    assert aligned(Region.whole(shape), shape, tensor)
    assert not aligned(Region(((0, 128), (0, 400))), shape, tensor)
    scales = Wire(torch.float32, format=block).planes(Region(((128, 300), (0, 400))))[1]
    assert scales == (torch.float32, Region(((1, 3), (0, 4))))
    assert Quantised(FULL, FULL, shape, block).nbytes == 120_000 + 3 * 4 * 4
