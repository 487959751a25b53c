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
from pivot.shape import Shape


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
    Rule("self_attention.linear_proj.weight", ("self_attn.o_proj.weight",), Kind.COLUMNS),
    Rule("pre_mlp_layernorm.weight", ("post_attention_layernorm.weight",), Kind.WHOLE),
)
_QK_NORM = (
    Rule("self_attention.q_layernorm.weight", ("self_attn.q_norm.weight",), Kind.WHOLE),
    Rule("self_attention.k_layernorm.weight", ("self_attn.k_norm.weight",), Kind.WHOLE),
)
_QKV_BIAS = (
    Rule(
        "self_attention.linear_qkv.bias",
        ("self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"),
        Kind.QKV,
    ),
)
_DENSE = (
    Rule("mlp.linear_fc1.weight", ("mlp.gate_proj.weight", "mlp.up_proj.weight"), Kind.GATED),
    Rule("mlp.linear_fc2.weight", ("mlp.down_proj.weight",), Kind.COLUMNS),
)
_SHARED_EXPERT = (
    Rule(
        "mlp.shared_experts.linear_fc1.weight",
        ("mlp.shared_expert.gate_proj.weight", "mlp.shared_expert.up_proj.weight"),
        Kind.GATED,
    ),
    Rule("mlp.shared_experts.linear_fc2.weight", ("mlp.shared_expert.down_proj.weight",), Kind.COLUMNS),
    Rule("mlp.shared_experts.gate_weight", ("mlp.shared_expert_gate.weight",), Kind.WHOLE),
)


def _experts(block: str, gate: str, up: str, down: str) -> tuple[Rule, ...]:
    """The router and experts of a family that calls their parts so."""
    names = [f"{block}.experts.{{expert}}.{part}.weight" for part in (gate, up, down)]
    return (
        Rule("mlp.router.weight", (f"{block}.gate.weight",), Kind.WHOLE),
        Rule("mlp.experts.linear_fc1.weight", (names[0], names[1]), Kind.GATED),
        Rule("mlp.experts.linear_fc2.weight", (names[2],), Kind.COLUMNS),
    )


_MOE = _experts("mlp", "gate_proj", "up_proj", "down_proj")
_MIXTRAL = _experts("block_sparse_moe", "w1", "w3", "w2")
# Transformer Engine fuses a norm into the linear layer after it; the weight is the same
_ALIASES = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_EXPERT = re.compile(r"mlp\.experts\.local_experts\.(\d+)\.(.+)")
# grouped GEMM (TEGroupedMLP) has one module for all experts of a rank, with a weight for each
_GROUPED = re.compile(r"mlp\.experts\.(linear_fc[12]\.weight)(\d+)")


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
    attention = _ATTENTION + (_QK_NORM if shape.qk_norm else ()) + (_QKV_BIAS if shape.qkv_bias else ())
    if not shape.experts:
        return attention + _DENSE
    experts = _MIXTRAL if shape.family == "mixtral" else _MOE
    return attention + experts + (_SHARED_EXPERT if shape.shared else ())


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
        rest = () if name.endswith("bias") else (h,)
        return (q, *rest), (kv, *rest), (kv, *rest)
    if "shared_experts" in name:
        inner = shape.shared
    if place.rule.kind is Kind.GATED:
        return (inner, h), (inner, h)
    if place.rule.kind is Kind.ROWS:
        return ((shape.vocab, h),)
    if place.rule.kind is Kind.COLUMNS:
        return ((h, q if "linear_proj" in name else inner),)
    if name in ("mlp.router.weight", "mlp.shared_experts.gate_weight"):
        return ((shape.experts if "router" in name else 1, h),)
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
            elif match := _GROUPED.fullmatch(name):
                expert, name = int(match[2]) + first_expert, "mlp.experts." + match[1]
            if shape.tied and name == "output_layer.weight":
                name = "embedding.word_embeddings.weight"
            yield Place(rules[_ALIASES.get(name, name)], layer, expert), parameter


def tensor_group(place: Place) -> Any:
    """The ranks over which the parameter of ``place`` is cut."""
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
            group = tensor_group(place)
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
        pieces = [piece.view(shape.groups // parts, -1, *piece.shape[1:]) for piece in pieces]
        return torch.cat(pieces, 1).flatten(0, 1)
    return torch.cat(pieces)


def _split(place: Place, full: Tensor, shape: Shape, own: bool) -> Iterator[tuple[str, Tensor]]:
    """The Hugging Face tensors of a full Megatron matrix, each in memory of its own; ``own``: such as ``full`` is."""
    if place.rule.kind is Kind.QKV:
        rows = shape.heads // shape.groups * shape.head
        grouped = full.view(shape.groups, rows + 2 * shape.head, *full.shape[1:])
        pieces = grouped.split([rows, shape.head, shape.head], 1)
        parts = [piece.flatten(0, 1) for piece in pieces]
    elif place.rule.kind is Kind.GATED:
        parts = list(full.chunk(2))
    else:
        parts = [full]
    for name, part in zip(place.names, parts, strict=True):
        yield name, part if own and part is full else part.clone()


@torch.no_grad()
def export(
    chunks: list[GPTModel], shape: Shape, dtype: torch.dtype, *, gradients: bool = False
) -> Iterator[tuple[str, Tensor]]:
    """Every full tensor under its Hugging Face name, on every rank, in the order of ``hf_shapes``.

    With ``gradients`` it is the fp32 gradient of each (zeros for a frozen weight), else the weight. The distributed
    optimizer reduces on each data-parallel rank only the gradients that it steps with there: with it they are partial.

    Collective: all ranks must iterate to the end. Tensors have ``dtype``, are contiguous and not reused, so that the
    caller may keep them. Besides what was yielded, one matrix of one layer (with all its experts) is held: its shards
    as gathered and, where tensor ranks' parts have to be interleaved, the result.
    """
    mine = {}
    for place, parameter in local_parameters(chunks, shape):
        if not gradients:
            mine[place] = parameter.data
        elif parameter.requires_grad:
            mine[place] = cast(Any, parameter).main_grad
        else:
            mine[place] = torch.zeros_like(parameter.data, dtype=dtype)
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    held: list[Any] = [None] * pipeline.size()
    dist.all_gather_object(held, {(p.rule.megatron, p.layer) for p in mine}, group=pipeline)
    for group in places(shape):
        key = (group[0].rule.megatron, group[0].layer)
        owner = next(i for i, keys in enumerate(held) if key in keys)
        yield from _export(group, mine, shape, dtype, owner)  # which lets go of its matrices


def _export(
    group: tuple[Place, ...], mine: dict[Place, Tensor], shape: Shape, dtype: torch.dtype, owner: int
) -> Iterator[tuple[str, Tensor]]:
    """The Hugging Face tensors of ``group``, which pipeline stage ``owner`` holds."""
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    if owner == pipeline.rank():
        full = _gather(group, mine).contiguous()
    else:
        size = (len(group), *_full_shape(group[0], shape))
        full = torch.empty(size, dtype=dtype, device=torch.cuda.current_device())
    if pipeline.size() > 1:
        dist.broadcast(full, src=dist.get_process_group_ranks(pipeline)[owner], group=pipeline)
    own = len(group) == 1 and not (group[0] in mine and full.data_ptr() == mine[group[0]].data_ptr())
    for place, matrix in zip(group, full, strict=True):
        yield from _split(place, matrix, shape, own)


def _gather(group: tuple[Place, ...], mine: dict[Place, Tensor]) -> Tensor:
    """[places of ``group``, full matrix] from all tensor (and expert) ranks that hold a piece of it."""
    if group[0].expert is None:
        ranks = parallel_state.get_tensor_model_parallel_group()
        local = mine[group[0]].unsqueeze(0)
        parts, spread = 1 if group[0].rule.kind is Kind.WHOLE else ranks.size(), 1
    else:
        ranks = parallel_state.get_expert_tensor_and_model_parallel_group()
        local = torch.stack([mine[place] for place in group if place in mine])
        parts = parallel_state.get_expert_tensor_parallel_world_size()
        spread = parallel_state.get_expert_model_parallel_world_size()
    if parts * spread == 1:
        return local
    shards = local.new_empty(parts * spread * local.size(0), *local.shape[1:])
    dist.all_gather_into_tensor(shards, local, group=ranks)
    # ranks of the group are ordered with the tensor part running fastest
    return _join(shards.view(spread, parts, *local.shape), group[0].rule.kind)


def _join(shards: Tensor, kind: Kind) -> Tensor:
    """[owners, parts, matrices of an owner, rows, …] -> [matrices, all rows, …]; copies only what has to move."""
    owners, parts, count, rows, *rest = shards.shape
    if kind is Kind.COLUMNS:
        joined = shards.permute(0, 2, 3, 1, 4).reshape(owners * count, rows, -1)
    elif kind is Kind.GATED:
        halves = shards.view(owners, parts, count, 2, rows // 2, *rest)
        joined = halves.permute(0, 2, 3, 1, 4, 5).reshape(owners * count, parts * rows, *rest)
    else:
        joined = shards.transpose(1, 2).reshape(owners * count, parts * rows, *rest)
    return joined
