"""FP8 training as Megatron and Transformer Engine want it; ``pivot.precision`` says what it needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from typing import Any

import torch

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.precision import Machine, Precision, Version, problem
from pivot.shape import Shape


def transformer_options(precision: Precision) -> dict[str, Any]:
    """The fields of Megatron's TransformerConfig for ``precision``; none without FP8."""
    recipe = precision.recipe
    if recipe is None:
        return {}
    options: dict[str, Any] = {
        "fp8": precision.format or recipe.format,
        "fp8_recipe": precision.fp8,
        "fp8_param": False,
        "fp8_dot_product_attention": False,
        "fp8_multi_head_attention": False,
    }
    if precision.fp8 == "delayed":
        options |= {"fp8_amax_history_len": precision.amax_history, "fp8_amax_compute_algo": precision.amax}
    if precision.first_bf16 or precision.last_bf16:
        options |= {
            "first_last_layers_bf16": True,
            "num_layers_at_start_in_bf16": precision.first_bf16,
            "num_layers_at_end_in_bf16": precision.last_bf16,
        }
    return options


def check_model(precision: Precision, shape: Shape, layout: Layout) -> None:
    """Refuses a model whose matrices have sizes that the recipe cannot take, on this layout.

    Raises:
        UserError: naming the size and what it is divided by.
    """
    recipe = precision.recipe
    if recipe is None:
        return
    inner = layout.expert_tensor if shape.experts else layout.tensor
    sequence = layout.sequence_parallel(moe=bool(shape.experts))
    # a gathered input is quantised before it is sent, which a block across two rows does not survive
    hidden = recipe.tokens if sequence else recipe.features
    for what, size, parts, unit in (
        ("hidden features", shape.hidden, 1, hidden),
        ("query features", shape.heads * shape.head, layout.tensor, recipe.features),
        ("key/value features", shape.groups * shape.head, layout.tensor, recipe.features),
        ("inner features", shape.inner, inner, recipe.features),
        ("inner features of the shared expert", shape.shared, layout.tensor, recipe.features),
    ):
        if size % (parts * unit):
            raise UserError(
                f"precision.fp8 is {precision.fp8}, but {size} {what} on {parts} tensor ranks are not a multiple of "
                f"{unit} on each: set precision.fp8=null or another layout"
            )
    stage = shape.layers // layout.pipeline
    for key, count in (("first_bf16", precision.first_bf16), ("last_bf16", precision.last_bf16)):
        if count > stage:
            raise UserError(f"precision.{key} is {count}, but a pipeline stage has {stage} layers, the most it can be")


def check_machine(precision: Precision) -> None:
    """Refuses FP8 where it would not run, or would run as bf16 without saying so.

    Megatron computes in bf16, silently, where Transformer Engine is not there: hence no fall-back.

    Raises:
        UserError: with what is missing.
    """
    if (reason := problem(precision, this_machine())) is not None:
        raise UserError(reason)


def this_machine() -> Machine:
    """What this rank runs on."""
    cuda = torch.cuda.is_available()
    return Machine(
        capability=torch.cuda.get_device_capability() if cuda else None,
        cuda=read_version(torch.version.cuda) if torch.version.cuda else None,
        engine=_engine(),
        environment=dict(os.environ),
    )


def _engine() -> Version | None:
    if importlib.util.find_spec("transformer_engine") is None:
        return None
    return read_version(importlib.metadata.version("transformer-engine"))


def read_version(text: str) -> Version:
    """Major and minor number of a version string such as "2.11.0+abc"."""
    match = re.match(r"(\d+)\.(\d+)", text)
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    return int(match[1]), int(match[2])
