"""FP8 blocks by Transformer Engine: which devices take them, that its sources know what is called, and what is made of
its results. Its kernels themselves need a CUDA device and have not run here."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from pivot.swap import te
from pivot.swap.formats import BLOCK, BLOCK_POWER_OF_TWO, FORMATS, MXFP8, TENSOR, Format, Quantised
from pivot.swap.fp8 import quantise
from tests.unit.swap.te_quantizers import PACKAGE, extract

RECORDED: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("te_quantizers.json").read_text())
REFERENCES = "tests/pytorch/references"


@pytest.mark.parametrize(
    ("format", "shape", "capability", "fits"),
    [
        (BLOCK, (256, 256), (9, 0), True),
        (BLOCK, (250, 100), (9, 0), True),
        (BLOCK, (256, 256), (8, 9), False),
        (BLOCK, (256, 256), (10, 0), False),  # refuses scales that are no powers of two
        (BLOCK_POWER_OF_TWO, (256, 256), (10, 0), True),
        (MXFP8, (256, 256), (10, 0), True),
        (MXFP8, (256, 256), (9, 0), False),  # its kernel is empty there
        (MXFP8, (256, 256), (12, 0), False),
        (MXFP8, (250, 256), (10, 0), False),
        (MXFP8, (256, 250), (10, 0), False),
        (TENSOR, (3, 5), (8, 9), True),
        (TENSOR, (3, 5), (8, 0), False),
        (TENSOR, (0, 5), (9, 0), False),
    ],
)
def test_devices(format: Format, shape: tuple[int, int], capability: tuple[int, int], fits: bool) -> None:
    assert te.fits(format, shape, capability) == fits


def test_a_cpu_uses_torch() -> None:
    assert not te.takes(torch.zeros(128, 128), BLOCK)


def calls() -> dict[str, tuple[int, list[str]]]:
    """Quantizer -> how many arguments by position, and which by name, it is made with in ``te.py``."""
    return {
        node.func.attr: (len(node.args), [str(keyword.arg) for keyword in node.keywords])
        for node in ast.walk(ast.parse(inspect.getsource(te)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.endswith("Quantizer")
    }


@pytest.mark.parametrize("version", RECORDED)
def test_transformer_engine_knows_what_is_called(version: str) -> None:
    recorded = RECORDED[version]
    assert calls().keys() == recorded["quantizers"].keys() == {*recorded["exported"]}
    for name, (positional, keywords) in calls().items():
        signature = recorded["quantizers"][name]
        assert positional == len(signature["arguments"]), name
        assert {*keywords} <= {*signature["keywords"]}, name
        asked = {"data", "fp8_scale_inv"} if "Current" in name else {"rowwise_data", "rowwise_scale_inv"}
        assert asked <= {*signature["metadata"]}, name
    assert recorded["call"] == ["tensor"]
    assert "tex.DType.kFloat8E4M3" in recorded["e4m3"]


def test_versions_are_those_of_the_policy() -> None:
    signatures = json.loads((Path(__file__).parents[1] / "policy" / "te_signatures.json").read_text())
    assert RECORDED.keys() == signatures.keys()


class FakeQuantizer:
    """Quantises in torch and gives back what Transformer Engine does: bytes, and scales filled up for its products."""

    def __init__(self, format: Format, made: list[str], *arguments: Any, **keywords: Any) -> None:
        made.append(" ".join([*map(str, arguments), *(f"{key}={value}" for key, value in keywords.items())]))
        self.format = format

    def __call__(self, tensor: Tensor) -> SimpleNamespace:
        assert tensor.is_contiguous()
        assert tensor.data_ptr() % 16 == 0
        found = quantise(tensor, self.format)
        data = found.payload.view(torch.uint8)
        if self.format.block is None:
            known = {"data": data, "fp8_scale_inv": found.scales.reshape(1)}
        else:
            rows, columns = found.scales.shape
            more = (0, -columns % 4, 0, -rows % 128 if self.format is MXFP8 else 0)
            known = {"rowwise_data": data, "rowwise_scale_inv": pad(found.scales, more, value=77)}
        return SimpleNamespace(get_metadata=lambda: known)


def through(monkeypatch: pytest.MonkeyPatch, tensor: Tensor, format: Format) -> tuple[Quantised, list[str]]:
    """``te.quantise`` with fake libraries, and how the quantizer was made."""
    made: list[str] = []
    package, engine, tex = (ModuleType(name) for name in ("transformer_engine", PACKAGE, "transformer_engine_torch"))
    for name in calls():
        setattr(engine, name, lambda *args, name=name, **known: FakeQuantizer(format, made, name, *args, **known))
    package.pytorch = engine  # type: ignore[attr-defined]
    tex.DType = SimpleNamespace(kFloat8E4M3="e4m3")  # type: ignore[attr-defined]
    for name, module in {
        "transformer_engine": package, "transformer_engine.pytorch": engine, "transformer_engine_torch": tex,
    }.items():  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)
    return te.quantise(tensor, format), made


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", [(256, 512), (160, 288)])
def test_results_are_those_of_torch(monkeypatch: pytest.MonkeyPatch, name: str, shape: tuple[int, int]) -> None:
    format = FORMATS[name]
    backing = torch.randn(shape[0] * shape[1] + 1, generator=torch.Generator().manual_seed(0))
    for tensor in (backing[1:].view(shape), backing[1:].view(shape[::-1]).t(), backing[:-1].view(shape).bfloat16()):
        found, _ = through(monkeypatch, tensor, format)
        torch_found = quantise(tensor, format)
        assert found.payload.dtype == torch.float8_e4m3fn
        assert torch.equal(found.payload.view(torch.uint8), torch_found.payload.view(torch.uint8))
        assert torch.equal(found.scales, torch_found.scales)
        assert found.scales.is_contiguous()
        assert (found.shape, found.format) == (shape, format)


def test_quantizers_are_made_for_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.zeros(32, 32)
    assert [through(monkeypatch, tensor, format)[1] for format in FORMATS.values()] == [
        ["Float8BlockQuantizer e4m3 rowwise=True columnwise=False amax_epsilon=0.0 force_pow_2_scales=False"
         " block_scaling_dim=2"],
        ["Float8BlockQuantizer e4m3 rowwise=True columnwise=False amax_epsilon=0.0 force_pow_2_scales=True"
         " block_scaling_dim=2"],
        ["MXFP8Quantizer e4m3 rowwise=True columnwise=False"],
        ["Float8CurrentScalingQuantizer e4m3 cpu rowwise=True columnwise=False force_pow_2_scales=False"
         " amax_epsilon=0.0"],
    ]  # fmt: skip


def test_the_recorded_quantizers_are_those_of_the_sources(te_sources: Path) -> None:
    assert (te_sources / PACKAGE).is_dir()
    assert extract(te_sources) in RECORDED.values(), "record this version with te_quantizers.py"


@pytest.mark.skipif(
    "PIVOT_TE_SOURCES" not in os.environ or not Path(os.environ["PIVOT_TE_SOURCES"], REFERENCES).is_dir(),
    reason="no clone of Transformer Engine with its tests: set PIVOT_TE_SOURCES",
)
@pytest.mark.parametrize("format", [BLOCK, BLOCK_POWER_OF_TWO, TENSOR], ids=lambda format: format.name)
def test_bytes_are_those_of_transformer_engines_references(monkeypatch: pytest.MonkeyPatch, format: Format) -> None:
    """Its Python references run anywhere; they are compared with its kernels in its own tests. Finite values only."""
    monkeypatch.syspath_prepend(Path(os.environ["PIVOT_TE_SOURCES"], REFERENCES).parent)
    generator = torch.Generator().manual_seed(1)
    for dtype in (torch.float32, torch.bfloat16):
        for size in (1e-38, 1e-36, 1.0, 1e30):
            for epsilon in (0.0, 1e-3):
                tensor = (torch.randn(300, 500, generator=generator) * size).to(dtype)
                tensor[:128, :128] = 0
                form = dataclasses.replace(format, epsilon=epsilon)
                found = quantise(tensor, form)
                payload, scales = referenced(tensor, form)
                assert torch.equal(found.payload.view(torch.uint8), payload.view(torch.uint8))
                assert torch.equal(found.scales, scales)


def referenced(tensor: Tensor, format: Format) -> tuple[Tensor, Tensor]:
    """Bytes and scales by the references."""
    if format.block is None:
        scale_from_amax = importlib.import_module("references.quantize_scale_calc").scale_from_amax_tensor
        scale, sent, _ = scale_from_amax(
            torch.float32, tensor.float().abs().max().view(1), torch.float8_e4m3fn,
            eps=format.epsilon, pow_2_scales=format.power_of_two,
        )  # fmt: skip
        return (tensor.float() * scale).clamp(-448, 448).to(torch.float8_e4m3fn), sent.reshape(())
    reference = importlib.import_module("references.blockwise_quantizer_reference").BlockwiseQuantizerReference()
    found = reference.quantize(
        tensor, torch.float8_e4m3fn, eps=format.epsilon, pow_2_scales=format.power_of_two,
        quant_tile_shape=format.block, munge_scale_shapes=False,
    )  # fmt: skip
    return found.data, found.scale
