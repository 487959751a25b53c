"""vLLM reads the configuration that is written for it, and decides on every module as the wire does."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch

from pivot.swap.formats import FORMATS
from pivot.swap.fp8 import dequantise, quantise
from pivot.swap.keep import WireSettings, check_engine, quantization_config, wire_format
from tests.unit.swap.checkpoints import MODULES, small

LAYER = "model.layers.0"
JOINED = {"qkv_proj": ["q_proj", "k_proj", "v_proj"], "gate_up_proj": ["gate_proj", "up_proj"]}


def skips(engine: Any, module: str) -> bool:
    """What the configuration object answers when a linear layer or the experts ask for their method."""
    from vllm.model_executor.layers.quantization.fp8 import Fp8Config
    from vllm.model_executor.layers.quantization.utils.quant_utils import is_layer_skipped

    engine.packed_modules_mapping = JOINED
    if isinstance(engine, Fp8Config):
        return bool(
            is_layer_skipped(
                module, engine.ignored_layers, engine.packed_modules_mapping,
                match_mode=engine.ignored_layers_match_mode,
            )
        )  # fmt: skip
    return bool(engine.is_layer_excluded(module))


def engine_config(config: dict[str, Any]) -> Any:
    from vllm.model_executor.layers.quantization import get_quantization_config

    return get_quantization_config(config["quant_method"]).from_config(config)


@pytest.mark.parametrize("name", FORMATS)
def test_vllm_reads_the_configuration(name: str) -> None:
    format = FORMATS[name]
    config = quantization_config(small(), WireSettings(format))
    assert config is not None
    engine = engine_config(config)
    if name == "mxfp8":
        assert (type(engine).__name__, engine.quant_method) == ("ModelOptMxFp8Config", "MXFP8")
        assert engine.exclude_modules == config["ignored_layers"]
        return
    assert type(engine).__name__ == "Fp8Config"
    assert engine.is_checkpoint_fp8_serialized
    assert engine.activation_scheme == "dynamic"
    assert engine.ignored_layers == config["modules_to_not_convert"]
    assert engine.weight_block_size == (list(format.block) if format.block else None)


def test_vllm_takes_it_in_place_of_the_checkpoints() -> None:
    """As the engine is started with it; the rest of its start needs a device."""
    from vllm.engine.arg_utils import EngineArgs

    from pivot.demo.run import CHECKPOINT

    for name, method in (("block", "fp8"), ("tensor", "fp8"), ("mxfp8", "mxfp8")):
        config = quantization_config(small(), WireSettings(FORMATS[name]))
        asked = EngineArgs(model=str(CHECKPOINT), dtype="bfloat16", hf_overrides={"quantization_config": config})
        found = asked.create_model_config()
        assert found.quantization == method
        assert found.model_arch_config.quantization_config == config
        assert EngineArgs(model=str(CHECKPOINT)).create_model_config().model_arch_config.quantization_config is None


@pytest.mark.parametrize(
    "keep", [(), ("*.o_proj.weight",), ("*.self_attn.*",), ("*.experts.*",), ("*.shared_expert.*",)]
)
@pytest.mark.parametrize("family", MODULES)
@pytest.mark.parametrize("name", FORMATS)
def test_vllm_decides_as_the_wire_does(name: str, family: str, keep: tuple[str, ...]) -> None:
    settings = WireSettings(FORMATS[name], keep)
    shapes = [(f"{LAYER}.{module}.weight", (64, 64)) for module, _, _ in MODULES[family]]
    shapes.append(("lm_head.weight", (100, 64)))
    config = quantization_config(shapes, settings)
    assert config is not None
    check_engine(shapes, settings, config)
    engine = engine_config(config)
    for (tensor, shape), (_, module, _) in zip(shapes, MODULES[family], strict=False):
        assert skips(engine, f"{LAYER}.{module}") == (wire_format(tensor, shape, settings) is None), tensor
    assert skips(engine, "lm_head")


@pytest.mark.parametrize("ignored", [["self_attn", "mlp.gate"], ["*self_attn*", "*.gate"]])
def test_vllm_leaves_out_parts_of_names_only_for_mxfp8(ignored: list[str]) -> None:
    """As ``check_engine`` takes it."""
    mx = engine_config({"quant_method": "mxfp8", "ignored_layers": ignored})
    block = engine_config({"quant_method": "fp8", "activation_scheme": "dynamic", "modules_to_not_convert": ignored})
    for module in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate"):
        assert skips(mx, f"{LAYER}.{module}")
        assert not skips(block, f"{LAYER}.{module}")
    assert not skips(mx, f"{LAYER}.mlp.experts")


def test_vllm_reads_the_values_as_they_are_read_here() -> None:
    from vllm.model_executor.layers.quantization.utils import mxfp8_utils
    from vllm.model_executor.layers.quantization.utils.quant_utils import GroupShape, scaled_dequantize

    assert FORMATS["mxfp8"].block == (1, mxfp8_utils.MXFP8_BLOCK_SIZE)
    assert FORMATS["mxfp8"].scale == mxfp8_utils.MXFP8_SCALE_DTYPE
    weights = torch.randn(256, 384, generator=torch.Generator().manual_seed(0)).bfloat16()
    for format in FORMATS.values():
        found = quantise(weights, format)
        if format.scale == torch.uint8:
            values = mxfp8_utils.dequant_mxfp8_to_bf16(found.payload, found.scales)
        else:
            group = GroupShape(*format.block) if format.block else None
            values = scaled_dequantize(found.payload, found.scales, group, torch.bfloat16)
        assert torch.equal(values, dequantise(found, torch.bfloat16)), format.name


def test_scales_are_called_as_vllm_calls_them() -> None:
    """By the parameters that its methods register: of linear layers, and of experts, where a prefix is put before."""
    from vllm.model_executor.layers.quantization import fp8, modelopt

    registered = re.findall(
        r'register_parameter\("(\w*scale\w*)"', inspect.getsource(fp8.Fp8LinearMethod.create_weights)
    )
    block, one = FORMATS["block"], FORMATS["tensor"]
    assert {block.scale_name("weight"), one.scale_name("weight"), "input_scale"} == {*registered}
    assert block.scale_name("weight") == FORMATS["block_power_of_two"].scale_name("weight")
    experts = inspect.getsource(fp8.Fp8MoEMethod.__init__)
    assert f'"{block.scale_name("weight")}" if self.block_quant else "{one.scale_name("weight")}"' in experts
    mx = FORMATS["mxfp8"].scale_name("weight")
    assert f'register_parameter("w13_{mx}"' in inspect.getsource(modelopt.ModelOptMxFp8FusedMoE.create_weights)
