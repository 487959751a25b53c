"""FP8 settings: what is refused and why, and that Megatron and Transformer Engine know every name that is used."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import typing
from pathlib import Path
from typing import Any

import megatron.core
import pytest
import torch

from pivot.config import load
from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import cpu  # makes Megatron importable on CPU  # noqa: F401
from pivot.policy.precision import check_machine, check_model, read_version, this_machine, transformer_options
from pivot.policy.release import no_cuda_graphs
from pivot.precision import RECIPES, Machine, Precision, environment, pack_multiple, problem
from pivot.shape import Shape
from tests.unit.policy.te_signatures import QUANTIZATION, extract

SIGNATURES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("te_signatures.json").read_text())
MEGATRON = Path(megatron.core.__file__).parent
FULL = Precision(first_bf16=1, last_bf16=2, amax_history=16, amax="most_recent")
SCALES = {"NVTE_FP8_BLOCK_SCALING_FP32_SCALES": "1"}
HOPPER = Machine((9, 0), (12, 9), (2, 11), SCALES)
BLACKWELL = Machine((10, 0), (12, 9), (2, 11), {})
SHAPE = Shape(
    family="qwen3_moe", layers=8, hidden=256, heads=8, groups=4, head=64, vocab=1000, inner=192, experts=8, topk=2,
    renormalise=True, eps=1e-6, rope_theta=1e6, tied=False, qk_norm=True, positions=4096,
    qkv_bias=False, shared=0,
)  # fmt: skip


def full(recipe: str) -> Precision:
    """Every option that ``recipe`` takes, away from its default."""
    return dataclasses.replace(FULL, fp8=recipe, **({"first_bf16": 0, "last_bf16": 0} if recipe == "delayed" else {}))


def accepted(hint: Any) -> set[Any]:
    """The values of a Literal, or the types, that an annotation allows."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set().union(*map(accepted, typing.get_args(hint))) if typing.get_args(hint) else {hint}


def megatron_config(**options: Any) -> Any:
    from megatron.core.transformer import TransformerConfig

    return TransformerConfig(
        num_layers=8, hidden_size=64, num_attention_heads=4, bf16=True, params_dtype=torch.bfloat16,
        **no_cuda_graphs(), **options,
    )  # fmt: skip


def test_without_fp8_nothing_is_asked_for() -> None:
    assert transformer_options(Precision()) == {}
    assert dict(environment(Precision())) == {}
    assert problem(Precision(), Machine(None, None, None, {})) is None
    assert pack_multiple(Precision(), tensor=4, context=2, sequence=True) == 8


def test_blockwise_options_in_full() -> None:
    assert transformer_options(Precision("blockwise", first_bf16=1)) == {
        "fp8": "e4m3",
        "fp8_recipe": "blockwise",
        "fp8_param": False,
        "fp8_dot_product_attention": False,
        "fp8_multi_head_attention": False,
        "first_last_layers_bf16": True,
        "num_layers_at_start_in_bf16": 1,
        "num_layers_at_end_in_bf16": 0,
    }
    assert dict(environment(Precision("blockwise"))) == SCALES


def test_delayed_options_carry_the_history_and_the_format_may_be_chosen() -> None:
    options = transformer_options(Precision("delayed", format="e4m3", amax_history=32))
    assert (options["fp8"], options["fp8_amax_history_len"], options["fp8_amax_compute_algo"]) == ("e4m3", 32, "max")
    assert "fp8_amax_history_len" not in transformer_options(Precision("mxfp8", amax_history=32))


@pytest.mark.parametrize(
    ("recipe", "layout", "expected"),
    [
        ("blockwise", {"tensor": 1, "context": 1, "sequence": False}, 128),
        ("blockwise", {"tensor": 2, "context": 1, "sequence": True}, 256),
        ("blockwise", {"tensor": 2, "context": 1, "sequence": False}, 128),
        ("mxfp8", {"tensor": 4, "context": 2, "sequence": True}, 256),
        ("delayed", {"tensor": 1, "context": 2, "sequence": False}, 32),
        ("tensorwise", {"tensor": 8, "context": 1, "sequence": True}, 128),
    ],
)
def test_packs_are_padded_to_blocks_on_every_rank(recipe: str, layout: dict[str, Any], expected: int) -> None:
    assert pack_multiple(Precision(recipe), **layout) == expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["precision.fp8=int8"], "'precision.fp8' is 'int8': it must be null or one of blockwise, mxfp8, "),
        (["precision.fp8=mxfp8"], "'precision.fp8' is 'mxfp8': it must be null unless model.dtype is bfloat16"),
        (["precision.format=e5m2"], "'precision.format' is 'e5m2': it must be null, e4m3 or hybrid"),
        (["precision.first_bf16=-1"], "'precision.first_bf16' is -1"),
        (["precision.last_bf16=-1"], "'precision.last_bf16' is -1"),
        (["precision.amax=mean"], "'precision.amax' is 'mean': it must be max or most_recent"),
        (["precision.amax_history=0"], "'precision.amax_history' is 0"),
        (["precision.fp8=delayed", "model.dtype=bfloat16", "precision.last_bf16=1"], "is (0, 1): it must be 0 with"),
    ],
)
def test_settings_that_do_not_go_together(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(None, overrides)
    assert message in str(caught.value)


def test_settings_that_do() -> None:
    config = load(None, ["precision.fp8=blockwise", "model.dtype=bfloat16", "precision.first_bf16=2"])
    assert config.precision == Precision("blockwise", first_bf16=2)


@pytest.mark.parametrize(
    ("recipe", "machine", "message"),
    [
        ("blockwise", HOPPER, None),
        ("mxfp8", BLACKWELL, None),
        ("delayed", HOPPER, None),
        ("tensorwise", BLACKWELL, None),
        ("delayed", Machine((8, 9), (12, 1), (2, 1), {}), None),
        ("delayed", Machine(None, None, None, {}), "this rank has no CUDA device: set precision.fp8=null"),
        ("blockwise", dataclasses.replace(HOPPER, engine=None), "Transformer Engine is not installed: pip install"),
        ("blockwise", dataclasses.replace(HOPPER, engine=(2, 2)), "Transformer Engine 2.3 or later, and 2.2 is inst"),
        ("blockwise", dataclasses.replace(HOPPER, cuda=(12, 8)), "CUDA 12.9 or later, and 12.8 is installed"),
        ("blockwise", dataclasses.replace(HOPPER, environment={}), "NVTE_FP8_BLOCK_SCALING_FP32_SCALES is not 1"),
        ("blockwise", BLACKWELL, "below 10.0, and this device has 10.0: set precision.fp8=mxfp8 or delayed"),
        ("mxfp8", HOPPER, "10.0 or more and below 12.0, and this device has 9.0: set precision.fp8=blockwise"),
        ("mxfp8", dataclasses.replace(BLACKWELL, capability=(12, 0)), "precision.fp8=delayed or tensorwise or null"),
        ("tensorwise", dataclasses.replace(HOPPER, capability=(8, 0)), "8.9 or more, and this device has 8.0"),
    ],
)
def test_machines(recipe: str, machine: Machine, message: str | None) -> None:
    found = problem(Precision(recipe), machine)
    assert found is None if message is None else found is not None and message in found


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_this_machine_has_no_device_and_says_so() -> None:
    assert this_machine().capability is None
    with pytest.raises(UserError, match=r"precision\.fp8 is blockwise, but this rank has no CUDA device"):
        check_machine(Precision("blockwise"))
    check_machine(Precision())


@pytest.mark.parametrize(("text", "version"), [("2.11.0", (2, 11)), ("12.9", (12, 9)), ("2.9.0.dev0+abc", (2, 9))])
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert read_version(text) == version


@pytest.mark.parametrize(
    ("precision", "change", "layout", "message"),
    [
        (Precision("blockwise"), {}, Layout(tensor=2, expert=2), None),
        (Precision(), {"hidden": 250}, Layout(), None),
        (Precision("delayed"), {"hidden": 250}, Layout(), "250 hidden features on 1 tensor ranks are not a mult"),
        (Precision("mxfp8"), {"inner": 208}, Layout(), "208 inner features on 1 tensor ranks are not a multiple of 32"),
        (Precision("mxfp8"), {}, Layout(tensor=4, expert_tensor=4), "192 inner features on 4 tensor ranks"),
        (Precision("mxfp8"), {}, Layout(tensor=4), None),  # experts are whole
        (Precision("mxfp8"), {"experts": 0}, Layout(tensor=4), "192 inner features on 4 tensor ranks"),
        (Precision("blockwise"), {"hidden": 192}, Layout(tensor=2), "192 hidden features on 1 tensor ranks are not"),
        (Precision("blockwise"), {"hidden": 192}, Layout(), None),
        (Precision("delayed"), {"groups": 1, "head": 16}, Layout(tensor=2), "16 key/value features on 2 tensor ranks"),
        (Precision("blockwise", first_bf16=4), {}, Layout(pipeline=2), None),
        (Precision("blockwise", first_bf16=5), {}, Layout(pipeline=2), "first_bf16 is 5, but a pipeline stage has 4"),
        (Precision("blockwise", last_bf16=9), {}, Layout(), "last_bf16 is 9, but a pipeline stage has 8 layers"),
    ],
)
def test_models(precision: Precision, change: dict[str, int], layout: Layout, message: str | None) -> None:
    shape = dataclasses.replace(SHAPE, **change)
    if message is None:
        check_model(precision, shape, layout)
        return
    with pytest.raises(UserError, match=message):
        check_model(precision, shape, layout)


@pytest.mark.parametrize("recipe", RECIPES)
def test_megatron_has_every_field_and_takes_every_value(recipe: str) -> None:
    from megatron.core.transformer import TransformerConfig

    hints = typing.get_type_hints(TransformerConfig)
    options = transformer_options(full(recipe))
    assert options.keys() <= {field.name for field in dataclasses.fields(TransformerConfig)}
    for name, value in options.items():
        assert value in accepted(hints[name]) or type(value) in accepted(hints[name]), name
    config = megatron_config(**options)
    assert {name: getattr(config, name) for name in options} == options


def test_megatron_refuses_what_is_refused_here() -> None:
    options = transformer_options(Precision("delayed"))
    with pytest.raises(ValueError, match="Delayed scaling does not support first / last layer in BF16"):
        megatron_config(**options, first_last_layers_bf16=True)
    with pytest.raises(ValueError, match="must be between 0 and number of layers per pipeline stage"):
        megatron_config(**transformer_options(Precision("blockwise", last_bf16=9)))


def calls_of_megatron() -> dict[str, list[str]]:
    """Recipe class of Transformer Engine -> the arguments that the installed Megatron makes it with."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse((MEGATRON / "fp8_utils.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("transformer_engine.common.recipe."):
            found[ast.unparse(node.func).rsplit(".", 1)[1]] = [str(keyword.arg) for keyword in node.keywords]
    for node in ast.walk(ast.parse((MEGATRON / "extensions" / "transformer_engine.py").read_text())):
        if isinstance(node, ast.ClassDef) and node.name == "TEDelayedScaling":
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Call) and ast.unparse(n.func) == "super().__init__"]
            found["DelayedScaling"] = [keyword.arg for call in calls for keyword in call.keywords if keyword.arg]
    return found


# Megatron gives it to DelayedScaling, which has not known it for years and, as a pydantic dataclass, does not mind
IGNORED = {"override_linear_precision"}


@pytest.mark.parametrize("version", SIGNATURES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_transformer_engine_knows_what_megatron_gives_it(version: str, recipe: str) -> None:
    signature, cls = SIGNATURES[version], RECIPES[recipe].te
    given = calls_of_megatron()[cls]
    assert "fp8_format" in given
    unknown = set(given) - set(signature["recipes"][cls])
    assert unknown <= (IGNORED if signature["pydantic"] else set())
    assert {"E4M3", "HYBRID"} <= set(signature["formats"])
    assert {"enabled", "fp8_recipe", "fp8_group"} <= set(signature["autocast"])
    assert RECIPES[recipe].environment.keys() <= set(signature["environment"])


@pytest.mark.parametrize("version", SIGNATURES)
def test_device_and_cuda_limits_are_those_of_transformer_engine(version: str) -> None:
    support = SIGNATURES[version]["support"]
    capability, cuda = "get_device_compute_capability()", "float(torch.version.cuda)"
    low, high = RECIPES["mxfp8"].capability
    assert {f"{capability} >= {low}", f"{capability} >= {high}"} == set(support["mxfp8"])
    block = RECIPES["blockwise"]
    assert {f"{capability} >= {block.capability[0]}", f"{cuda} >= {block.cuda[0]}.{block.cuda[1]}"} == set(
        support["fp8_block_scaling"]
    )
    for recipe in (RECIPES["delayed"], RECIPES["tensorwise"]):
        assert f"{capability} < {recipe.capability[0]}" in support["fp8"]
        assert f"{cuda} < {recipe.cuda[0]}.{recipe.cuda[1]}" in support["fp8"]


def test_versions_of_transformer_engine_are_those_that_megatron_asks_for() -> None:
    source = (MEGATRON / "fp8_utils.py").read_text()
    asked = dict(re.findall(r'Fp8Recipe\.(\w+) and is_te_min_version\("(\d+\.\d+)', source))
    assert asked == {"tensorwise": "2.2", "blockwise": "2.3"}
    assert {name: ".".join(map(str, RECIPES[name].engine)) for name in asked} == asked
    assert {recipe.engine for name, recipe in RECIPES.items() if name not in asked} == {(2, 1)}
    assert 'is_te_min_version("2.1.0")' in source


def test_the_recorded_signatures_are_those_of_the_sources(te_sources: Path) -> None:
    assert (te_sources / QUANTIZATION).is_file()
    assert extract(te_sources) in SIGNATURES.values(), "record this version with te_signatures.py"
