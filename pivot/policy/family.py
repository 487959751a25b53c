"""What a policy asks of its kind of model, and the kinds that this project computes with its own table of names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import bridge, hf, hf_shards, replay
from pivot.policy.balance import Balance
from pivot.policy.head import ScoringHead
from pivot.policy.hf_shards import Shard
from pivot.policy.model import build_chunks, transformer_config
from pivot.policy.packing import Pack, PackedGroup, pack
from pivot.policy.precision import check_model, transformer_options
from pivot.precision import Precision
from pivot.shape import FAMILIES, Shape, check_layout, pair_cost, read_shape


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is built.

    Attributes:
        layout: the parallel sizes, already initialised.
        dtype: of its parameters.
        recompute: None, "selective" or "full" activation recomputation.
        precision: FP8 of the matrix products, or none.
        freeze_router: keep the routing weights of an MoE as they are.
        balance: the load-balancing loss.
        router_replay: routers choose the experts that a pack names.
    """

    layout: Layout
    dtype: torch.dtype
    recompute: str | None
    precision: Precision
    freeze_router: bool
    balance: Balance
    router_replay: bool = False


class Family(Protocol):
    """A kind of model: how it is built, its weights in and out, and what it takes as a micro-batch."""

    @property
    def pair_cost(self) -> float:
        """What a pair of attention costs against a token; see ``model.pair_cost``."""
        ...

    def build(self, setup: Setup) -> tuple[TransformerConfig, list[GPTModel], ScoringHead]:
        """This rank's model chunks, unwrapped, with weights that mean nothing; UserError when it cannot be so cut."""
        ...

    def load(self, chunks: list[GPTModel]) -> None:
        """Fills this rank's parameters from the checkpoint; UserError for one that does not fit, by name."""
        ...

    def export(
        self, chunks: list[GPTModel], dtype: torch.dtype, *, gradients: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        """Every full tensor under its Hugging Face name, on every rank, in one order; collective."""
        ...

    def shards(self, chunks: list[GPTModel]) -> Iterator[Shard] | None:
        """This rank's part of every tensor (``hf_shards.py``); None where only ``export`` knows what is whose."""
        ...

    def pack(self, groups: Sequence[PackedGroup], multiple: int) -> Pack:
        """A micro-batch as the model takes it."""
        ...


@dataclass(frozen=True, slots=True)
class Ours:
    """A family of the table in ``hf.py``, with attention and experts of ``spec.py``."""

    path: Path
    shape: Shape

    @property
    def pair_cost(self) -> float:
        return pair_cost(self.shape)

    def build(self, setup: Setup) -> tuple[TransformerConfig, list[GPTModel], ScoringHead]:
        check_layout(self.shape, setup.layout)
        check_model(setup.precision, self.shape, setup.layout)
        if setup.router_replay and not self.shape.experts:
            raise UserError(f"grpo.router_replay is true, but a {self.shape.family} model has no experts: set false")
        config = transformer_config(
            self.shape,
            setup.layout,
            setup.dtype,
            setup.recompute,
            transformer_options(setup.precision),
            aux_loss=setup.balance.coefficient,
        )
        chunks, head = build_chunks(self.shape, config, freeze_router=setup.freeze_router, balance=setup.balance)
        if setup.router_replay:
            replay.install(chunks)
        return config, chunks, head

    def load(self, chunks: Iterable[GPTModel]) -> None:
        hf.load(self.path, chunks, self.shape)

    def export(
        self, chunks: list[GPTModel], dtype: torch.dtype, *, gradients: bool = False
    ) -> Iterator[tuple[str, Tensor]]:
        return hf.export(chunks, self.shape, dtype, gradients=gradients)

    def shards(self, chunks: list[GPTModel]) -> Iterator[Shard]:
        return hf_shards.shards(chunks, self.shape)

    def pack(self, groups: Sequence[PackedGroup], multiple: int) -> Pack:
        for group in groups:
            if group.routes is not None:
                replay.check_routes(group.routes, self.shape.layers, self.shape.topk, self.shape.experts)
        return pack(groups, multiple, self.shape.vocab)


def open_family(path: Path, hf_config: Mapping[str, Any]) -> Family:
    """The kind of model in the checkpoint directory ``path``: one of ours, or of Megatron-Bridge.

    Raises:
        UserError: neither can be used, with what is missing.
    """
    if hf_config.get("model_type") in FAMILIES:
        return Ours(path, read_shape(hf_config))
    return bridge.open_bridge(path, hf_config)
