"""What goes over in FP8: one list, its bytes, and that an engine expects the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pivot.swap import SwapError
from pivot.swap.formats import BLOCK, FORMATS, MXFP8
from pivot.swap.keep import WireSettings, check_engine, computes, quantization_config, wire_bytes, wire_format
from tests.unit.swap.checkpoints import MODULES, qwen3_30b_a3b, small

FP8 = WireSettings(BLOCK)


@pytest.mark.parametrize(
    "name",
    [
        "model.embed_tokens.weight",
        "lm_head.weight",
        "model.layers.0.mlp.gate.weight",
        "model.layers.0.block_sparse_moe.gate.weight",
        "model.layers.0.mlp.router.weight",
        "model.layers.0.mlp.shared_expert_gate.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.0.mixer.A_log",
    ],
)
def test_what_always_stays(name: str) -> None:
    assert wire_format(name, (128, 128), FP8) is None


def test_what_goes_over_in_fp8() -> None:
    for family, modules in MODULES.items():
        for module, _, quantised in modules:
            found = wire_format(f"model.layers.0.{module}.weight", (128, 128), FP8)
            assert found == (BLOCK if quantised else None), (family, module)
            assert wire_format(f"model.layers.0.{module}.weight", (128, 128), WireSettings()) is None


@pytest.mark.parametrize("shape", [(), (128,), (4, 128, 128)])
def test_only_matrices_are_quantised(shape: tuple[int, ...]) -> None:
    assert wire_format("model.layers.0.self_attn.o_proj.weight", shape, FP8) is None


def test_layers_that_the_user_names_stay() -> None:
    settings = WireSettings(BLOCK, keep=("model.layers.0.*", "*.o_proj.weight"))
    kept = {name for name, shape in small() if len(shape) == 2 and wire_format(name, shape, settings) is None}
    named = {name for name, shape in small() if len(shape) == 2 and (".0." in name[:16] or "o_proj" in name)}
    assert kept == named | {"model.embed_tokens.weight", "lm_head.weight", "model.layers.1.mlp.gate.weight"}


def test_mxfp8_takes_no_row_with_a_rest() -> None:
    name = "model.layers.0.self_attn.o_proj.weight"
    assert wire_format(name, (5, 96), WireSettings(MXFP8)) == MXFP8
    assert wire_format(name, (96, 100), WireSettings(MXFP8)) is None
    assert wire_format(name, (96, 100), FP8) == BLOCK


def test_bytes_of_a_small_set() -> None:
    shapes = [("a.weight", (130, 200)), ("a.bias", (130,)), ("lm_head.weight", (10, 20))]
    rest = (130 + 200) * 2
    assert wire_bytes(shapes, WireSettings()) == 130 * 200 * 2 + rest
    assert wire_bytes(shapes, WireSettings(), itemsize=4) == 2 * (130 * 200 * 2 + rest)
    assert wire_bytes(shapes, FP8) == 130 * 200 + 2 * 2 * 4 + rest
    assert wire_bytes(shapes[:1], WireSettings(FORMATS["tensor"])) == 130 * 200 + 4


# docs/swap.md gives these
@pytest.mark.parametrize(
    ("name", "ratio"), [("block", 0.5105), ("block_power_of_two", 0.5105), ("mxfp8", 0.5257), ("tensor", 0.5104)]
)
def test_wire_bytes_of_qwen3_30b_a3b(name: str, ratio: float) -> None:
    shapes = qwen3_30b_a3b()
    whole = wire_bytes(shapes, WireSettings())
    assert (len(shapes), whole) == (18867, 61_064_245_248)
    found = wire_bytes(shapes, WireSettings(FORMATS[name]))
    assert found <= 0.53 * whole, f"{name}: {found} of {whole} bytes, {found / whole:.4f} of bfloat16"
    assert round(found / whole, 4) == ratio


def test_configuration_of_block_fp8_checkpoints() -> None:
    kept = ["lm_head", "model.embed_tokens", "model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
    assert quantization_config(small(), FP8) == {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": kept,
    }
    assert quantization_config(small(), WireSettings(MXFP8)) == {"quant_method": "mxfp8", "ignored_layers": kept}
    assert "weight_block_size" not in (quantization_config(small(), WireSettings(FORMATS["tensor"])) or {})
    assert quantization_config(small(), WireSettings()) is None


@pytest.mark.parametrize(
    ("name", "capability", "done"),
    [("block", (8, 6), False), ("block", (8, 9), True), ("tensor", (9, 0), True), ("mxfp8", (9, 0), False),
     ("mxfp8", (10, 0), True)],
)  # fmt: skip
def test_devices_that_multiply_a_format(name: str, capability: tuple[int, int], done: bool) -> None:
    assert computes(FORMATS[name], capability) == done


KEPT = ((), ("model.layers.0.*",), ("*.o_proj.weight",), ("*.self_attn.*",), ("*.mlp.experts.*",))


@pytest.mark.parametrize("keep", KEPT)
@pytest.mark.parametrize("name", FORMATS)
def test_an_engine_with_that_configuration_agrees(name: str, keep: tuple[str, ...]) -> None:
    settings = WireSettings(FORMATS[name], keep)
    check_engine(small(), settings, quantization_config(small(), settings))


@pytest.mark.parametrize("ignored", [["self_attn", "mlp.gate", "lm_head"], ["*self_attn*", "*.gate", "lm_head"]])
def test_mxfp8_is_left_out_by_parts_of_names_and_patterns(ignored: list[str]) -> None:
    engine = {"quant_method": "mxfp8", "ignored_layers": ignored}
    check_engine(small(), WireSettings(MXFP8, ("*.self_attn.*",)), engine)
    with pytest.raises(SwapError, match=r"self_attn\.q_proj\.weight is sent in FP8 blocks of 1x32, but"):
        check_engine(small(), WireSettings(MXFP8), engine)
    with pytest.raises(SwapError, match=r"mlp\.gate\.weight is sent as it is, but the engine expects it in FP8"):
        check_engine(small(), FP8, config(modules_to_not_convert=ignored[1:]))


def config(**changes: Any) -> dict[str, Any]:
    found = quantization_config(small(), FP8)
    assert found is not None
    return found | changes


GATES = ["model.layers.0.mlp.gate", "model.layers.1.mlp.gate"]
ATTENTION = "model.layers.0.self_attn"
EXPERTS = "model.layers.1.mlp.experts"


def ignoring(*modules: str) -> dict[str, Any]:
    return config(modules_to_not_convert=[*GATES, *modules])


@pytest.mark.parametrize(
    ("settings", "engine", "name", "sent", "expected"),
    [
        (FP8, None, f"{ATTENTION}.q_proj", "in FP8 blocks of 128x128", "as it is"),
        (WireSettings(), config(), f"{ATTENTION}.q_proj", "as it is", "in FP8 blocks of 128x128"),
        (FP8, config(modules_to_not_convert=[]), GATES[0], "as it is", "in FP8 blocks of 128x128"),
        (FP8, ignoring(f"{ATTENTION}.o_proj"), f"{ATTENTION}.o_proj", "in FP8 blocks of 128x128", "as it is"),
        (FP8, ignoring(f"{ATTENTION}.qkv_proj"), f"{ATTENTION}.q_proj", "in FP8 blocks of 128x128", "as it is"),
        (FP8, ignoring(f"{EXPERTS}.3.up_proj"), f"{EXPERTS}.0.gate_proj", "in FP8 blocks of 128x128", "as it is"),
        (FP8, config(weight_block_size=[64, 64]), f"{ATTENTION}.q_proj", "in FP8 blocks of 128x128",
         "in FP8 blocks of 64x64"),
        (FP8, config(weight_block_size=None), f"{ATTENTION}.q_proj", "in FP8 blocks of 128x128",
         "in FP8 with one scale"),
        (WireSettings(MXFP8), config(), f"{ATTENTION}.q_proj", "in FP8 blocks of 1x32", "in FP8 blocks of 128x128"),
        (WireSettings(MXFP8), {"quant_method": "mxfp8", "ignored_layers": ["lm_head"]}, GATES[0], "as it is",
         "in FP8 blocks of 1x32"),
        (WireSettings(MXFP8), {"quant_method": "mxfp8", "ignored_layers": GATES}, "lm_head", "as it is",
         "in FP8 blocks of 1x32"),
    ],
)  # fmt: skip
def test_an_engine_that_expects_something_else_is_refused(
    settings: WireSettings, engine: dict[str, Any] | None, name: str, sent: str, expected: str
) -> None:
    with pytest.raises(SwapError) as caught:
        check_engine(small(), settings, engine)
    assert str(caught.value) == f"tensor {name}.weight is sent {sent}, but the engine expects it {expected}"


def test_an_engine_with_another_kind_of_quantisation_is_refused() -> None:
    with pytest.raises(SwapError, match=r"the engine's quant_method is 'gptq', and weights are sent for fp8 or mxfp8"):
        check_engine(small(), FP8, {"quant_method": "gptq"})


@pytest.mark.parametrize(
    ("pattern", "one", "other"),
    [
        (f"{ATTENTION}.k_proj.weight", f"{ATTENTION}.k_proj", f"{ATTENTION}.q_proj"),
        (f"{EXPERTS}.11.*", f"{EXPERTS}.11.gate_proj", f"{EXPERTS}.0.gate_proj"),
        (f"{EXPERTS}.*.up_proj.weight", f"{EXPERTS}.0.up_proj", f"{EXPERTS}.0.gate_proj"),
    ],
)
def test_matrices_that_an_engine_joins_stay_together(pattern: str, one: str, other: str) -> None:
    settings = WireSettings(BLOCK, (pattern,))
    with pytest.raises(SwapError, match=re.escape(f"tensor {one}.weight is sent as it is and {other}.weight in FP8 b")):
        check_engine(small(), settings, quantization_config(small(), settings))
