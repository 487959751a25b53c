"""The experts that an MoE chose for the tokens of its samples: what router replay trains on (`pivot.policy.replay`).

The choice at a position depends on the tokens up to it, so the samples of a prompt share the routes of the prompt, as
they share its keys and values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int16]
"""[tokens, layers, topk] experts by their number among all of a layer, whichever rank of the engine holds them."""

MISSING = -1
"""In the place of an expert: it is not known which one a token took in a layer."""


@dataclass(frozen=True, slots=True)
class Routes:
    """The routes of a prompt and of one sample of it.

    Attributes:
        prompt: [P, layers, topk] int16; one array for all samples of the prompt.
        generated: [R - 1, layers, topk] int16: the last token is sampled and never put into the model.
    """

    prompt: Rows
    generated: Rows

    @property
    def whole(self) -> Rows:
        """[P + R - 1, layers, topk] int16, of every token that the model was given."""
        return np.concatenate([self.prompt, self.generated])


class RouteSource(Protocol):
    """Where an engine's routes come from."""

    def clear(self) -> None:
        """A new call begins: requests of the last one are done with."""

    def take(self, output: Any) -> NDArray[Any] | None:
        """[input tokens, layers, topk] of a finished request."""


class NativeRoutes:
    """vLLM's own `enable_return_routed_experts`: on CUDA, uint8 or uint16, cached prefixes included.

    It names experts by their number in the checkpoint, before they are mapped to the ranks that hold them.
    """

    def clear(self) -> None:
        """Each output carries its own."""

    def take(self, output: Any) -> NDArray[Any] | None:
        routes: NDArray[Any] | None = output.outputs[0].routed_experts
        return routes


def of_group(samples: Sequence[Rows], prompt: int) -> list[Routes]:
    """The routes of the samples of one prompt; what one does not know of the prompt, another may.

    Args:
        samples: [P + R_i - 1, layers, topk] int16 of each sample, at least one.
        prompt: P, tokens of the prompt.
    """
    shared = samples[0][:prompt].copy()
    for rows in samples[1:]:
        holes = unknown(shared)
        if not holes.any():
            break
        shared[holes] = rows[:prompt][holes]
    return [Routes(shared, rows[prompt:]) for rows in samples]


def unknown(rows: Rows) -> NDArray[np.bool_]:
    """[tokens, layers] bool: no route there."""
    found: NDArray[np.bool_] = (rows == MISSING).any(-1)
    return found


def missing_share(groups: Sequence[Sequence[Routes]]) -> float:
    """The share of (input token, layer) without a route, over samples of several prompts; a prompt counts once."""
    parts = [rows for samples in groups if samples for rows in (samples[0].prompt, *(one.generated for one in samples))]
    total = sum(rows.shape[0] * rows.shape[1] for rows in parts)
    return sum(int(unknown(rows).sum()) for rows in parts) / total if total else 0.0


def checked(rows: NDArray[Any] | None, tokens: int) -> Rows:
    """The rows that an engine gives for a sample of so many input tokens, as int16.

    Raises:
        RuntimeError: it gives none, or for another number of tokens.
    """
    if rows is None or len(rows) != tokens:
        raise RuntimeError(
            f"vLLM returned routes for {0 if rows is None else len(rows)} of a sample's {tokens} input tokens: the "
            "release differs from the one that pivot/rollout/routes.py was written for"
        )
    return rows.astype(np.int16, copy=False)


def route_arguments(wanted: bool, share_tails: bool) -> dict[str, Any]:
    """Engine arguments that make vLLM return routes.

    Raises:
        RuntimeError: with the scheduler that shares tails: it copies KV blocks in part, and routes do not follow.
    """
    from pivot.rollout import cpu

    if wanted and share_tails:
        raise RuntimeError("routes of tokens in shared block tails are not known: use one of routes and share_tails")
    return {"enable_return_routed_experts": True} if wanted and not cpu.on_cpu() else {}


def route_source(llm: Any) -> RouteSource:
    """Where the routes of this vLLM object come from.

    Raises:
        UserError: the model has no experts.
    """
    from pivot.rollout import cpu

    if not cpu.on_cpu():
        return NativeRoutes()
    from pivot.rollout.cpu_routes import RouteRecorder

    [recorder] = llm.collective_rpc(RouteRecorder)
    source: RouteSource = recorder
    return source
