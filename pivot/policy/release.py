"""What releases of Megatron name or build differently, beside what ``cpu.py`` patches.

Told apart by what is there, not by number: on CUDA any release may be installed.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from megatron.core.transformer import TransformerConfig
from megatron.core.transformer.moe.moe_layer import MoESubmodules
from megatron.core.transformer.spec_utils import ModuleSpec


def no_cuda_graphs() -> dict[str, Any]:
    """The field of TransformerConfig that names what CUDA graphs capture, for nothing: its default is deprecated."""
    names = {field.name for field in dataclasses.fields(TransformerConfig)}
    return {"cuda_graph_modules" if "cuda_graph_modules" in names else "cuda_graph_scope": []}  # 0.19.2, 0.16.1


def moe_submodules(layer: ModuleSpec) -> MoESubmodules:
    """What the MoE of a layer is made of: the MLP of 0.19.2 is a partial call, that of 0.16.1 a ModuleSpec."""
    mlp = layer.submodules.mlp
    found = mlp.keywords["submodules"] if isinstance(mlp, functools.partial) else mlp.submodules
    if not isinstance(found, MoESubmodules):
        raise TypeError(f"the MLP of a layer with experts is made of {type(found).__name__}, not MoESubmodules")
    return found


def of_class(kind: type, part: Any) -> Any:
    """``part`` of such submodules with its class replaced by ``kind``."""
    if isinstance(part, functools.partial):
        return functools.partial(kind, *part.args, **part.keywords)
    return dataclasses.replace(part, module=kind)
