"""Which weights go over in FP8 and which stay as they are: one list, for the wire and for the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import torch

from pivot.swap.errors import SwapError
from pivot.swap.formats import Format, Shape

# Embedding, output head, router and norms. What is not a matrix called weight (a bias, say) is never quantised.
ALWAYS = ("*embed*", "*lm_head*", "*.gate.weight", "*.router.weight", "*shared_expert_gate.weight", "*norm*")

# quant_method -> the key under which vLLM looks for what is left out, and what it does not ask about in any case
_METHODS = {"fp8": ("modules_to_not_convert", ("*embed*", "*lm_head*")), "mxfp8": ("ignored_layers", ("*embed*",))}
# matrices of which an engine makes one, and quantises all or none
_FUSED = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj"), "qkv_proj"),
    **dict.fromkeys(("gate_proj", "up_proj"), "gate_up_proj"),
}


@dataclass(frozen=True, slots=True)
class WireSettings:
    """What weights look like on the wire.

    Attributes:
        format: of the matrices that are quantised; None: every tensor goes over as the policy holds it.
        keep: patterns (``fnmatch``) of Hugging Face names that stay as they are, beside those that always do.
        loaded: engines load values and scales; False: what those stand for, in the policy's dtype.
    """

    format: Format | None = None
    keep: tuple[str, ...] = ()
    loaded: bool = False


def wire_format(name: str, shape: Shape, settings: WireSettings) -> Format | None:
    """The format of one tensor on the wire; None: as the policy holds it.

    Args:
        name: Hugging Face name.
        shape: of the whole tensor.
        settings: of the swap.
    """
    format = settings.format
    if format is None or not _is_matrix(name, shape):
        return None
    if any(fnmatchcase(name, pattern) for pattern in (*ALWAYS, *settings.keep)):
        return None
    # neither Transformer Engine nor vLLM cuts a row into 32s with a rest
    return None if format.scale == torch.uint8 and shape[1] % 32 else format


def wire_bytes(shapes: Iterable[tuple[str, Shape]], settings: WireSettings, itemsize: int = 2) -> int:
    """Bytes of a set of tensors on the wire.

    Args:
        shapes: names and shapes.
        settings: of the swap.
        itemsize: bytes of a value that is not quantised.
    """
    formats = ((shape, wire_format(name, shape, settings)) for name, shape in shapes)
    return sum(format.nbytes(shape) if format else prod(shape) * itemsize for shape, format in formats)


def computes(format: Format, capability: tuple[int, int]) -> bool:
    """Whether vLLM multiplies weights in this format on a CUDA device of this compute capability."""
    return capability >= ((10, 0) if format.scale == torch.uint8 else (8, 9))


def quantization_config(shapes: Iterable[tuple[str, Shape]], settings: WireSettings) -> dict[str, Any] | None:
    """``quantization_config`` of a Hugging Face ``config.json``, with which vLLM expects what goes over the wire.

    Args:
        shapes: names and shapes of all tensors.
        settings: of the swap.

    Returns:
        What vLLM's ``Fp8Config`` (``ModelOptMxFp8Config`` for mxfp8) reads; None when nothing is quantised.
    """
    if settings.format is None:
        return None
    method = "mxfp8" if settings.format.scale == torch.uint8 else "fp8"
    kept = sorted(
        _module(name) for name, shape in shapes if _is_matrix(name, shape) and not wire_format(name, shape, settings)
    )
    config: dict[str, Any] = {"quant_method": method, _METHODS[method][0]: kept}
    if method == "fp8":
        config |= {"fmt": "e4m3", "activation_scheme": "dynamic"}
        if settings.format.block is not None:
            config["weight_block_size"] = [*settings.format.block]
    return config


def check_engine(shapes: Iterable[tuple[str, Shape]], settings: WireSettings, config: Mapping[str, Any] | None) -> None:
    """Refuses an engine that expects other tensors in FP8, or in another form, than what goes over the wire.

    Args:
        shapes: names and shapes of all tensors.
        settings: of the swap.
        config: ``quantization_config`` of the engine; None: it has none.

    Raises:
        SwapError: naming the first tensor they disagree on, or the first that stays while others of the same matrix of
        the engine do not.
    """
    forms = {
        name: _form(wire_format(name, shape, settings)) for name, shape in shapes if _is_matrix(name, shape)
    }  # fmt: skip
    first: dict[str, str] = {}
    for name, form in forms.items():
        other = first.setdefault(_fused(_module(name)), name)
        if form != forms[other]:
            raise SwapError(f"tensor {name} is sent {form} and {other} {forms[other]}, but an engine makes them one")
    for name, form in forms.items():
        if form != (expected := _expected(name, config)):
            raise SwapError(f"tensor {name} is sent {form}, but the engine expects it {expected}")


def _is_matrix(name: str, shape: Shape) -> bool:
    return len(shape) == 2 and name.endswith(".weight")


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _fused(module: str) -> str:
    """The module of the engine that holds a module's matrix."""
    before, experts, _ = module.partition(".experts.")
    if experts:
        return f"{before}.experts"
    parent, _, leaf = module.rpartition(".")
    return f"{parent}.{_FUSED.get(leaf, leaf)}"


def _form(format: Format | None) -> str:
    if format is None:
        return "as it is"
    return _blocks(format.block)


def _blocks(block: Sequence[int] | None) -> str:
    return "in FP8 with one scale" if block is None else f"in FP8 blocks of {'x'.join(map(str, block))}"


def _expected(name: str, config: Mapping[str, Any] | None) -> str:
    """The form in which an engine with this ``quantization_config`` expects a matrix, in the words of ``_form``.

    Source: ``Fp8Config.get_quant_method``, ``ModelOptQuantConfigBase.is_layer_excluded`` and ``is_layer_skipped`` in
    vLLM's ``model_executor/layers/quantization``.
    """
    if config is None:
        return _form(None)
    method = config.get("quant_method")
    if method not in _METHODS:
        raise SwapError(
            f"tensor {name}: the engine's quant_method is {method!r}, and weights are sent for {' or '.join(_METHODS)}"
        )
    key, never = _METHODS[method]
    ignored: list[str] = config.get("ignored_layers") or config.get(key) or []
    module, fused = _module(name), _fused(_module(name))
    if fused.endswith(".experts"):
        skipped = any(fused in layer for layer in ignored)
    else:
        skipped = module in ignored or fused in ignored
    if method == "mxfp8":
        skipped |= any(layer in fused or fnmatchcase(fused, layer) for layer in ignored)
    if skipped or any(fnmatchcase(name, pattern) for pattern in never):
        return _form(None)
    return _blocks((1, 32) if method == "mxfp8" else config.get("weight_block_size"))
