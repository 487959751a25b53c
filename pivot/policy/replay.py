"""Router replay: the experts that the engine chose are chosen again in training (R3, arXiv 2510.11370).

Engine and trainer round differently, and where two experts score nearly alike, rounding decides which of them computes
a token: the largest part of what sets their logprobs apart. With replay the *choice* comes from the engine, while the
weights of the chosen experts are the trainer's own, from its own router logits at these experts, so that gradients
flow as ever. A token without a route is routed by the trainer.

Megatron has a hook for it in its top-k routing (`router_replay` of ``TopKRouter``), and a class for that hook, which is
not used here: it has one list of layers for all models of a process, takes no rows without a route, and finds the
routes of a recomputed layer by the order of calls, where a pipeline mixes forward and backward passes. Here routes
travel with the pack: whatever runs a layer, and however often, brings the routes of its own micro-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from torch import Tensor

MISSING = -1
"""In the place of an expert: the token has no route in this layer."""


class Replay:
    """What Megatron's router of one layer asks for the experts of its tokens."""

    def __init__(self, layer: int, sequence_parallel: bool) -> None:
        """For layer ``layer``, from 0, of the whole model."""
        self._layer = layer
        self._sequence_parallel = sequence_parallel
        self._routes: Tensor | None = None

    def before(self, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Forward pre-hook of the transformer layer: takes its routes out of the pack."""
        routes = named["packed_seq_params"].routes
        self._routes = None if routes is None else routes[self._layer]

    def get_replay_topk(
        self,
        scores: Tensor,
        topk: int,
        num_groups: int | None,
        group_topk: int | None,
        own_topk: Callable[[Tensor, int, int | None, int | None], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor]:
        """Scores and numbers of the experts of every token: [t, topk] both.

        Args:
            scores: [t, experts], of this rank's tokens.
            topk: experts a token.
            num_groups: of experts, for `own_topk`.
            group_topk: how many of those, for `own_topk`.
            own_topk: the router's own choice.
        """
        values, own = own_topk(scores, topk, num_groups, group_topk)
        if self._routes is None:
            return values, own
        return forced(scores, own, self._here(self._routes))

    def _here(self, routes: Tensor) -> Tensor:
        """The routes of this tensor rank's tokens: under sequence parallelism one slice after the other."""
        if not self._sequence_parallel:
            return routes
        group = parallel_state.get_tensor_model_parallel_group()
        return routes.chunk(group.size())[group.rank()]


def forced(scores: Tensor, own: Tensor, routes: Tensor) -> tuple[Tensor, Tensor]:
    """The router's scores at given experts, the highest first, as its own top-k has them.

    In that order, the order in which an engine names the experts cannot show in the last bit of a softmax over them.

    Args:
        scores: [t, experts], with gradient.
        own: [t, topk] int64, what the router would choose.
        routes: [t, topk] int16, experts to choose; a row with `MISSING` in it has none.

    Returns:
        [t, topk] scores, and [t, topk] int64.
    """
    known = (routes != MISSING).all(-1, keepdim=True)
    chosen = torch.where(known, routes.to(own.dtype), own)
    order = scores.detach().gather(1, chosen).argsort(dim=1, descending=True, stable=True)
    chosen = chosen.gather(1, order)
    return scores.gather(1, chosen), chosen


def install(chunks: Sequence[GPTModel]) -> None:
    """Makes every router of these unwrapped model chunks replay the routes of the pack it is given."""
    for model in chunks:
        for layer in model.decoder.layers:
            replay = Replay(layer.layer_number - 1, model.config.sequence_parallel)
            layer.mlp.router.router_replay = replay
            layer.register_forward_pre_hook(replay.before, with_kwargs=True)


def check_routes(routes: Tensor, layers: int, topk: int, experts: int) -> None:
    """Refuses routes that are not those of a model with these numbers.

    Args:
        routes: [rows, layers, topk] int16.
        layers: of the model.
        topk: experts a token.
        experts: of a layer.

    Raises:
        ValueError: with the shape or the expert that does not fit.
    """
    if routes.shape[1:] != (layers, topk):
        raise ValueError(f"routes are of {list(routes.shape[1:])} layers and experts a token, not [{layers}, {topk}]")
    low, high = (int(routes.min()), int(routes.max())) if routes.numel() else (0, 0)
    if not MISSING <= low <= high < experts:
        raise ValueError(f"a route names an expert outside 0..{experts - 1}: {low} or {high}")
