"""FP8 training as it is asked for: recipes, what each needs, and what does not go together. No torch: checked before
ranks start.

Facts are those of Transformer Engine 2.9 to 2.18 (``common/recipe``, ``pytorch/quantization.py``) and of Megatron-core
0.16.1 (``fp8_utils.py``); tests/unit/policy/test_precision.py holds them against the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to scale FP8 tensors.

    Attributes:
        te: the class in ``transformer_engine.common.recipe``.
        format: "e4m3", or "hybrid" (gradients in e5m2): Transformer Engine's default for this recipe.
        tokens: rows of a product over tokens must be a multiple of this on every rank.
        features: so must the sizes of the weights.
        capability: compute capabilities of the device, from and below.
        cuda: smallest version.
        engine: smallest version of Transformer Engine with which Megatron takes the recipe.
        environment: what Transformer Engine reads when it is imported.
    """

    te: str
    format: str
    tokens: int
    features: int
    capability: tuple[Version, Version]
    cuda: Version
    engine: Version
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


ANY_LATER = (99, 0)
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # scales in fp32, as in the checkpoints that vLLM reads; on Blackwell they can only be powers of two
        "blockwise": Recipe(
            "Float8BlockScaling", "e4m3", 128, 16, ((9, 0), (10, 0)), (12, 9), (2, 3),
            MappingProxyType({"NVTE_FP8_BLOCK_SCALING_FP32_SCALES": "1"}),
        ),
        "mxfp8": Recipe("MXFP8BlockScaling", "e4m3", 32, 32, ((10, 0), (12, 0)), (12, 8), (2, 1)),
        "delayed": Recipe("DelayedScaling", "hybrid", 16, 16, ((8, 9), ANY_LATER), (12, 1), (2, 1)),
        "tensorwise": Recipe("Float8CurrentScaling", "hybrid", 16, 16, ((8, 9), ANY_LATER), (12, 1), (2, 2)),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Precision:
    """What the matrix products of transformer layers are computed in.

    Embedding, output layer, router, norms and attention itself stay in bf16 or fp32, and so do the weights: they are
    quantised for each product (weights kept in FP8 become NaN under tensor parallelism).

    Attributes:
        fp8: a name in ``RECIPES``; None: as model.dtype says.
        format: "e4m3" or "hybrid"; None: the recipe's own.
        first_bf16: layers at the start that are left in bf16.
        last_bf16: layers at the end that are left in bf16.
        amax_history: steps whose largest values set the scale, for "delayed".
        amax: "max" of them or the "most_recent", for "delayed".
    """

    fp8: str | None = None
    format: str | None = None
    first_bf16: int = 0
    last_bf16: int = 0
    amax_history: int = 1024
    amax: str = "max"

    @property
    def recipe(self) -> Recipe | None:
        return None if self.fp8 is None else RECIPES[self.fp8]


@dataclass(frozen=True, slots=True)
class Machine:
    """What a rank runs on; None for what is not there.

    Attributes:
        capability: of its CUDA device.
        cuda: version that torch was built for.
        engine: version of Transformer Engine.
        environment: variables that were set when Python started.
    """

    capability: Version | None
    cuda: Version | None
    engine: Version | None
    environment: Mapping[str, str]


def rules(precision: Precision, dtype: str) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the configuration's section.

    Args:
        precision: the section.
        dtype: model.dtype.
    """
    kept = precision.first_bf16, precision.last_bf16
    return [
        ("precision.fp8", precision.fp8, precision.fp8 in (None, *RECIPES), f"null or one of {', '.join(RECIPES)}"),
        ("precision.fp8", precision.fp8, precision.fp8 is None or dtype == "bfloat16",
         "null unless model.dtype is bfloat16: what FP8 leaves out is computed in it"),
        ("precision.format", precision.format, precision.format in (None, "e4m3", "hybrid"), "null, e4m3 or hybrid"),
        ("precision.first_bf16", kept[0], kept[0] >= 0, "0 or more"),
        ("precision.last_bf16", kept[1], kept[1] >= 0, "0 or more"),
        ("precision.first_bf16 and last_bf16", kept, precision.fp8 != "delayed" or kept == (0, 0),
         "0 with precision.fp8=delayed, whose scales are updated once for all layers"),
        ("precision.amax_history", precision.amax_history, precision.amax_history >= 1, "at least 1"),
        ("precision.amax", precision.amax, precision.amax in ("max", "most_recent"), "max or most_recent"),
    ]  # fmt: skip


def environment(precision: Precision) -> Mapping[str, str]:
    """Variables that every rank must have before its Python starts."""
    return precision.recipe.environment if precision.recipe else {}


def pack_multiple(precision: Precision, *, tensor: int, context: int, sequence: bool) -> int:
    """What the length of a whole pack must be a multiple of, with FP8 or without.

    Args:
        precision: of the layers.
        tensor: ranks that share a layer.
        context: ranks that share the tokens.
        sequence: whether tensor ranks share the tokens between layers.
    """
    return (precision.recipe.tokens if precision.recipe else 1) * (tensor if sequence else 1) * context


def problem(precision: Precision, machine: Machine) -> str | None:
    """Why FP8 training cannot run on ``machine``, in one line with what to do; None when it can."""
    recipe = precision.recipe
    if recipe is None:
        return None
    asked = f"precision.fp8 is {precision.fp8}, but"
    if machine.capability is None or machine.cuda is None:
        return f"{asked} this rank has no CUDA device: set precision.fp8=null to run without FP8"
    if machine.engine is None:
        return f"{asked} Transformer Engine is not installed: pip install 'pivotrl[cuda]'"
    low, high = recipe.capability
    if not low <= machine.capability < high:
        fitting = [name for name, r in RECIPES.items() if r.capability[0] <= machine.capability < r.capability[1]]
        return (
            f"{asked} it needs compute capability {_dotted(low)} or more"
            f"{'' if high == ANY_LATER else f' and below {_dotted(high)}'}, and this device has "
            f"{_dotted(machine.capability)}: set precision.fp8={' or '.join([*fitting, 'null'])}"
        )
    for what, found, least in (
        ("CUDA", machine.cuda, recipe.cuda),
        ("Transformer Engine", machine.engine, recipe.engine),
    ):
        if found < least:
            return f"{asked} it needs {what} {_dotted(least)} or later, and {_dotted(found)} is installed"
    for name, value in recipe.environment.items():
        if machine.environment.get(name) != value:
            return f"{asked} {name} is not {value}: export it before the ranks start (it is read at import)"
    return None


def _dotted(version: Version) -> str:
    return f"{version[0]}.{version[1]}"
