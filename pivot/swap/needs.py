"""What of every tensor one rank of an engine keeps, as vLLM's loaders cut it. Arithmetic on names and shapes.

vLLM's loaders take full tensors and narrow them; so a rank of an engine with tensor parallelism needs only what its
loaders will narrow to, in a tensor of the full shape. The cuts are those of `layers/linear.py` (rows of column-parallel
layers, columns of row-parallel ones, heads of q, k and v), `layers/vocab_parallel_embedding.py` and
`layers/fused_moe/routed_experts.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.manifest import Shape
from pivot.swap_options import VOCAB_PADDING

_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_LAST = re.compile(r"([^.]+)\.(weight|bias)$")
_VOCABULARY = ("embed_tokens", "lm_head")
_ROWS = ("q_proj", "gate_proj", "up_proj", "w1", "w3")
_HEADS = ("k_proj", "v_proj")
_COLUMNS = ("o_proj", "down_proj", "w2")


@dataclass(frozen=True, slots=True)
class EngineShape:
    """How an engine is cut.

    Attributes:
        tensor: Ranks that share it.
        expert_parallel: Whether those ranks hold whole experts, each some of them; else a slice of every one.
        kv_heads: Key/value heads of the model: those are repeated where there are fewer than ranks.
        experts: Experts of a layer; 0 for a dense model.
    """

    tensor: int = 1
    expert_parallel: bool = False
    kv_heads: int = 1
    experts: int = 0


def needs(shapes: Mapping[str, Shape], engine: EngineShape, rank: int) -> dict[str, Region]:
    """What rank `rank` of an engine keeps of every tensor; a tensor that it does not load is left out.

    Args:
        shapes: Hugging Face name -> shape.
        engine: How the engine is cut.
        rank: In the engine's tensor-parallel group.

    Raises:
        SwapError: a tensor that does not divide so, by name.
    """
    found = {}
    for name, shape in shapes.items():
        region = _need(name, shape, engine, rank) if engine.tensor > 1 else Region.whole(shape)
        if region is not None:
            found[name] = region
    return found


def _need(name: str, shape: Shape, engine: EngineShape, rank: int) -> Region | None:
    whole, last = Region.whole(shape), _LAST.search(name)
    kind = last[1] if last else ""
    if (expert := _EXPERT.search(name)) and engine.expert_parallel:
        first, count = experts_of(engine.experts, engine.tensor, rank)
        return whole if first <= int(expert[1]) < first + count else None
    if kind in _VOCABULARY:
        padded = -(-shape[0] // VOCAB_PADDING) * VOCAB_PADDING
        size = _part(name, padded, engine.tensor)
        return whole.cut(0, rank * size, (rank + 1) * size)
    if kind in _HEADS:
        heads = max(1, engine.kv_heads // engine.tensor)
        copies = max(1, engine.tensor // engine.kv_heads)
        if heads * engine.tensor != engine.kv_heads * copies:
            raise SwapError(f"{name}: {engine.kv_heads} key/value heads do not fit an engine of {engine.tensor} ranks")
        size = heads * _part(name, shape[0], engine.kv_heads)
        return whole.cut(0, rank // copies * size, (rank // copies + 1) * size)
    if kind in _ROWS:
        size = _part(name, shape[0], engine.tensor)
        return whole.cut(0, rank * size, (rank + 1) * size)
    if kind in _COLUMNS and len(shape) == 2:
        size = _part(name, shape[1], engine.tensor)
        return whole.cut(1, rank * size, (rank + 1) * size)
    return whole


def experts_of(experts: int, ranks: int, rank: int) -> tuple[int, int]:
    """(first, how many) experts of a rank, as vLLM places them: linear, the first ranks take one more."""
    each, more = divmod(experts, ranks)
    return rank * each + min(rank, more), each + (rank < more)


def _part(name: str, size: int, parts: int) -> int:
    if size % parts:
        raise SwapError(f"{name}: {size} do not divide into {parts} equal parts for the engine")
    return size // parts
