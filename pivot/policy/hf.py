"""Hugging Face weights in and out of a Megatron model: one table of names for all families.

A rule says how one Megatron parameter is made of Hugging Face tensors, and ``Kind`` how it is cut over ranks.
Loading reads only the slices that a rank owns, straight from the safetensors files. Export gathers layer by
layer over tensor, expert and pipeline ranks, so that every rank sees every full tensor, in the same order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.transformer.transformer_layer import get_transformer_layer_offset
from safetensors import safe_open
from torch import Tensor

from pivot.errors import UserError
from pivot.policy.model import Shape


class Kind(Enum):
    """How a parameter is cut over tensor ranks."""

    WHOLE = "replicated"
    ROWS = "first dimension cut"
    COLUMNS = "second dimension cut"
    GATED = "gate above up, each cut by rows"
    QKV = "per key/value group: its query heads, key, value; groups cut"


@dataclass(frozen=True, slots=True)
class Rule:
    """One Megatron parameter: its name below the layer, its Hugging Face parts, how it is cut."""

    megatron: str
    parts: tuple[str, ...]
    kind: Kind


_OUTER = (
    Rule("embedding.word_embeddings.weight", ("model.embed_tokens.weight",), Kind.ROWS),
    Rule("decoder.final_layernorm.weight", ("model.norm.weight",), Kind.WHOLE),
    Rule("output_layer.weight", ("lm_head.weight",), Kind.ROWS),
)
_ATTENTION = (
    Rule("input_layernorm.weight", ("input_layernorm.weight",), Kind.WHOLE),
    Rule(
        "self_attention.linear_qkv.weight",
        ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
        Kind.QKV,
    ),
    Rule("self_attention.q_layernorm.weight", ("self_attn.q_norm.weight",), Kind.WHOLE),
    Rule("self_attention.k_layernorm.weight", ("self_attn.k_norm.weight",), Kind.WHOLE),
    Rule("self_attention.linear_proj.weight", ("self_attn.o_proj.weight",), Kind.COLUMNS),
    Rule("pre_mlp_layernorm.weight", ("post_attention_layernorm.weight",), Kind.WHOLE),
)
_DENSE = (
    Rule("mlp.linear_fc1.weight", ("mlp.gate_proj.weight", "mlp.up_proj.weight"), Kind.GATED),
    Rule("mlp.linear_fc2.weight", ("mlp.down_proj.weight",), Kind.COLUMNS),
)
_MOE = (
    Rule("mlp.router.weight", ("mlp.gate.weight",), Kind.WHOLE),
    Rule(
        "mlp.experts.linear_fc1.weight",
        ("mlp.experts.{expert}.gate_proj.weight", "mlp.experts.{expert}.up_proj.weight"),
        Kind.GATED,
    ),
    Rule("mlp.experts.linear_fc2.weight", ("mlp.experts.{expert}.down_proj.weight",), Kind.COLUMNS),
)
# Transformer Engine fuses a norm into the linear layer after it; the weight is the same
_ALIASES = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"mlp\.experts\.local_experts\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Place:
    """A Megatron parameter of the whole model: a rule, and which layer and expert (or None)."""

    rule: Rule
    layer: int | None = None
    expert: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The Hugging Face names of its parts."""
        prefix = "" if self.layer is None else f"model.layers.{self.layer}."
        return tuple(prefix + part.format(expert=self.expert) for part in self.rule.parts)


def layer_rules(shape: Shape) -> tuple[Rule, ...]:
    """The rules of one transformer layer."""
    rules = _ATTENTION + (_MOE if shape.experts else _DENSE)
    return tuple(
        rule for rule in rules if shape.qk_norm or "_norm" not in rule.parts[0] or "self_attn" not in rule.parts[0]
    )


def places(shape: Shape) -> Iterator[tuple[Place, ...]]:
    """Every parameter of the model in export order; the experts of one matrix of a layer are one tuple."""
    yield (Place(_OUTER[0]),)
    for layer in range(shape.layers):
        for rule in layer_rules(shape):
            if "{expert}" in rule.parts[0]:
                yield tuple(Place(rule, layer, expert) for expert in range(shape.experts))
            else:
                yield (Place(rule, layer),)
    yield (Place(_OUTER[1]),)
    if not shape.tied:
        yield (Place(_OUTER[2]),)


def part_shapes(place: Place, shape: Shape) -> tuple[tuple[int, ...], ...]:
    """Shapes of the Hugging Face tensors of ``place``."""
    h, inner, q, kv = shape.hidden, shape.inner, shape.heads * shape.head, shape.groups * shape.head
    name = place.rule.megatron
    if place.rule.kind is Kind.QKV:
        return (q, h), (kv, h), (kv, h)
    if place.rule.kind is Kind.GATED:
        return (inner, h), (inner, h)
    if place.rule.kind is Kind.ROWS:
        return ((shape.vocab, h),)
    if place.rule.kind is Kind.COLUMNS:
        return ((h, q if "linear_proj" in name else inner),)
    if name == "mlp.router.weight":
        return ((shape.experts, h),)
    return ((shape.head,) if name.startswith("self_attention") else (h,),)


def hf_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name and shape of every Hugging Face tensor of the model, in export order."""
    found: dict[str, tuple[int, ...]] = {}
    for group in places(shape):
        for place in group:
            found.update(zip(place.names, part_shapes(place, shape), strict=True))
    return found


def _full_shape(place: Place, shape: Shape) -> tuple[int, ...]:
    parts = part_shapes(place, shape)
    return (sum(part[0] for part in parts), *parts[0][1:])


def local_parameters(chunks: Iterable[GPTModel], shape: Shape) -> Iterator[tuple[Place, torch.nn.Parameter]]:
    """This rank's parameters with their place in the whole model.

    A tied output layer on a later pipeline stage holds a copy of the embedding and is reported as the
    embedding.
    """
    rules = {rule.megatron: rule for rule in _OUTER + layer_rules(shape)}
    for model in chunks:
        offset = get_transformer_layer_offset(model.config, vp_stage=model.vp_stage)
        per_rank = (model.config.num_moe_experts or 0) // model.config.expert_model_parallel_size
        first_expert = parallel_state.get_expert_model_parallel_rank() * per_rank
        for name, parameter in model.named_parameters():
            layer = expert = None
            if match := _LAYER.fullmatch(name):
                layer, name = int(match[1]) + offset, match[2]
            if match := _EXPERT.fullmatch(name):
                expert, name = int(match[1]) + first_expert, "mlp.experts." + match[2]
            if shape.tied and name == "output_layer.weight":
                name = "embedding.word_embeddings.weight"
            yield Place(rules[_ALIASES.get(name, name)], layer, expert), parameter


def _tensor_group(place: Place) -> Any:
    if place.expert is not None:
        return parallel_state.get_expert_tensor_parallel_group()
    return parallel_state.get_tensor_model_parallel_group()


class Checkpoint:
    """The safetensors files of a Hugging Face checkpoint, read slice by slice."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        index = path / "model.safetensors.index.json"
        if index.exists():
            files = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        elif (path / "model.safetensors").exists():
            files = ["model.safetensors"]
        else:
            raise UserError(f"{path} holds neither model.safetensors nor model.safetensors.index.json")
        self.path = path
        self._where: dict[str, Any] = {}
        for file in files:
            if not (path / file).exists():
                raise UserError(f"{path / file} is named by {index.name} but does not exist")
            handle = stack.enter_context(safe_open(path / file, framework="pt"))
            self._where.update(dict.fromkeys(handle.keys(), handle))

    def check(self, shape: Shape) -> None:
        """Raises UserError naming the first tensor that is missing, extra or misshapen."""
        expected = hf_shapes(shape)
        for name, size in expected.items():
            if name not in self._where:
                raise UserError(f"{self.path}: tensor {name} is missing")
            found = tuple(self._where[name].get_slice(name).get_shape())
            if found != size:
                raise UserError(f"{self.path}: tensor {name} has shape {found}, config.json says {size}")
        allowed = {"lm_head.weight"} if shape.tied else set()
        for name in self._where:
            if name not in expected and name not in allowed:
                raise UserError(f"{self.path}: tensor {name} is not part of a {shape.family} model")

    def rows(self, name: str, rank: int, parts: int) -> Tensor:
        """Part ``rank`` of ``parts`` of tensor ``name`` along its first dimension."""
        view = self._where[name].get_slice(name)
        size = view.get_shape()[0] // parts
        return view[rank * size : (rank + 1) * size]

    def columns(self, name: str, rank: int, parts: int) -> Tensor:
        """Part ``rank`` of ``parts`` of tensor ``name`` along its second dimension."""
        view = self._where[name].get_slice(name)
        size = view.get_shape()[1] // parts
        return view[:, rank * size : (rank + 1) * size]


@torch.no_grad()
def load(path: Path, chunks: Iterable[GPTModel], shape: Shape) -> None:
    """Fills this rank's parameters from the checkpoint at ``path``, cast to the parameters' dtype.

    Raises:
        UserError: files are missing, or a tensor is missing, extra or misshapen (by name).
    """
    with ExitStack() as stack:
        source = Checkpoint(path, stack)
        source.check(shape)
        for place, parameter in local_parameters(chunks, shape):
            group = _tensor_group(place)
            value = _slice(source, place, shape, group.rank(), group.size())
            if value.shape != parameter.shape:
                raise RuntimeError(f"{place.names}: slice {tuple(value.shape)} for {tuple(parameter.shape)}")
            parameter.copy_(value)


def _slice(source: Checkpoint, place: Place, shape: Shape, rank: int, parts: int) -> Tensor:
    names, kind = place.names, place.rule.kind
    if kind is Kind.WHOLE:
        return source.rows(names[0], 0, 1)
    if kind is Kind.COLUMNS:
        return source.columns(names[0], rank, parts)
    pieces = [source.rows(name, rank, parts) for name in names]
    if kind is Kind.QKV:
        pieces = [piece.view(shape.groups // parts, -1, shape.hidden) for piece in pieces]
        return torch.cat(pieces, 1).reshape(-1, shape.hidden)
    return torch.cat(pieces)


def _join(shards: list[Tensor], kind: Kind) -> Tensor:
    """The full Megatron matrix from the shards of all tensor ranks."""
    if len(shards) == 1 or kind is Kind.WHOLE:
        return shards[0]
    if kind is Kind.COLUMNS:
        return torch.cat(shards, 1)
    if kind is Kind.GATED:
        gates, ups = zip(*(shard.chunk(2) for shard in shards), strict=True)
        return torch.cat(gates + ups)
    return torch.cat(shards)


def _split(place: Place, full: Tensor, shape: Shape) -> Iterator[tuple[str, Tensor]]:
    """The Hugging Face tensors of a full Megatron matrix, each in memory of its own."""
    if place.rule.kind is Kind.QKV:
        rows = shape.heads // shape.groups * shape.head
        grouped = full.view(shape.groups, rows + 2 * shape.head, shape.hidden)
        pieces = grouped.split([rows, shape.head, shape.head], 1)
        parts = [piece.reshape(-1, shape.hidden) for piece in pieces]
    elif place.rule.kind is Kind.GATED:
        parts = list(full.chunk(2))
    else:
        parts = [full]
    for name, part in zip(place.names, parts, strict=True):
        yield name, part.clone()


@torch.no_grad()
def export(
    chunks: list[GPTModel], shape: Shape, dtype: torch.dtype, *, gradients: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Every full tensor under its Hugging Face name, on every rank, in the order of ``hf_shapes``.

    With ``gradients`` it is the fp32 gradient of each (zeros for a frozen weight), else the weight.

    Collective: all ranks must iterate to the end. Tensors have ``dtype``, are contiguous and not reused, so
        that the
    caller may keep them. At most one matrix of one layer (with all its experts) is held besides what was
    yielded.
    """
    mine = {}
    for place, parameter in local_parameters(chunks, shape):
        if not gradients:
            mine[place] = parameter.data
        else:
            frozen = not parameter.requires_grad
            mine[place] = torch.zeros_like(parameter.data) if frozen else cast(Any, parameter).main_grad
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    stages = dist.get_process_group_ranks(pipeline)
    held: list[Any] = [None] * len(stages)
    dist.all_gather_object(held, {(p.rule.megatron, p.layer) for p in mine}, group=pipeline)
    for group in places(shape):
        key = (group[0].rule.megatron, group[0].layer)
        owner = next(i for i, keys in enumerate(held) if key in keys)
        if owner == pipeline.rank():
            full = _gather(group, mine).contiguous()
        else:
            size = (len(group), *_full_shape(group[0], shape))
            full = torch.empty(size, dtype=dtype, device=torch.cuda.current_device())
        if pipeline.size() > 1:
            dist.broadcast(full, src=stages[owner], group=pipeline)
        for place, matrix in zip(group, full, strict=True):
            yield from _split(place, matrix, shape)


def _gather(group: tuple[Place, ...], mine: dict[Place, Tensor]) -> Tensor:
    """[places of ``group``, full matrix] from all tensor (and expert) ranks that hold a piece of it."""
    kind = group[0].rule.kind
    if group[0].expert is None:
        ranks = parallel_state.get_tensor_model_parallel_group()
        local = mine[group[0]].unsqueeze(0)
        parts = 1 if kind is Kind.WHOLE else ranks.size()
        spread = 1
    else:
        ranks = parallel_state.get_expert_tensor_and_model_parallel_group()
        local = torch.stack([mine[place] for place in group if place in mine])
        parts = parallel_state.get_expert_tensor_parallel_world_size()
        spread = parallel_state.get_expert_model_parallel_world_size()
    if parts * spread == 1:
        shards = [local]
    else:
        shards = [torch.empty_like(local) for _ in range(ranks.size())]
        dist.all_gather(shards, local.contiguous(), group=ranks)
    # ranks of the group are ordered with the tensor part running fastest
    return torch.stack(
        [
            _join([shards[owner * parts + part][i] for part in range(parts)], kind)
            for owner in range(spread)
            for i in range(local.size(0))
        ]
    )
