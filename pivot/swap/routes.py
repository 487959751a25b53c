"""Which rank takes which part of a tensor from which other: worked out once for all tensors that are cut alike."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

import numpy as np
from numpy.typing import NDArray

from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.manifest import Shape
from pivot.swap.wire import Wire

Ranks = tuple[int, ...]
Holders = Mapping[str, Mapping[Region, Ranks]]
"""Name -> region -> ranks that hold it, ascending."""
Hop = tuple[Region, int, int]
"""(part, source, target)."""

_MODULES = (
    (re.compile(r"\.experts\..*"), ".experts"),
    (re.compile(r"\.[qkv]_proj\."), ".qkv_proj."),
    (re.compile(r"\.(gate|up)_proj\."), ".gate_up_proj."),
)


@dataclass(frozen=True, slots=True)
class Need:
    """What some ranks need of every tensor: the same for all of them."""

    regions: Mapping[str, Region]
    ranks: Ranks


@dataclass(frozen=True, slots=True)
class Rows:
    """The hops of one step: a tensor, or some of its rows.

    Attributes:
        hops: Of all ranks, in one order.
        load: int64 [2, world]: bytes that every rank sends and receives.
        last: Nothing of the tensor comes after it.
        by_rank: The hops that concern a rank.
    """

    hops: tuple[Hop, ...]
    load: NDArray[np.int64]
    last: bool
    by_rank: dict[int, tuple[Hop, ...]] = field(default_factory=dict)

    def of(self, rank: int) -> tuple[Hop, ...]:
        """The hops that `rank` sends or receives."""
        if rank not in self.by_rank:
            self.by_rank[rank] = tuple(hop for hop in self.hops if rank in hop[1:])
        return self.by_rank[rank]


@dataclass(frozen=True, slots=True)
class Route:
    """The steps of one tensor, and a text that stands for how it was cut."""

    steps: tuple[Rows, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A part that some ranks need, and those that hold it."""

    region: Region
    holders: Ranks
    targets: Ranks


class Router:
    """Finds routes; tensors of one shape, held and needed by the same ranks in the same way, share them."""

    def __init__(
        self, holders: Holders, needs: Sequence[Need], wires: Mapping[str, Wire], *, world: int, per_node: int
    ) -> None:
        self._holders = holders
        self._needs = needs
        self._wires = wires
        self._world = world
        self._per_node = per_node
        self._turns: Counter[object] = Counter()
        self._known: dict[object, tuple[list[_Part], int]] = {}
        self._routes: dict[object, Route] = {}

    def route(self, name: str, shape: Shape, room: int) -> Route:
        """The route of one more tensor, in steps of at most `room` bytes a rank.

        Raises:
            SwapError: nobody holds a part that is needed, or `room` is too small for one row.
        """
        held = self._holders.get(name, {})
        wanted = tuple(need.regions.get(name) for need in self._needs)
        cut = (shape, self._wires[name], tuple(sorted(held.items())), wanted)
        if cut not in self._known:
            parts = self._parts(name, held)
            period = math.lcm(*(len(near) for part in parts for near in self._choices(part)))
            self._known[cut] = parts, period
        parts, period = self._known[cut]
        turn = self._turns[cut] % period
        self._turns[cut] += 1
        if (cut, turn) not in self._routes:
            steps = self._steps(name, self._hops(parts, turn), shape, room)
            self._routes[cut, turn] = Route(steps, f"{cut} {turn}")
        return self._routes[cut, turn]

    def _parts(self, name: str, held: Mapping[Region, Ranks]) -> list[_Part]:
        """What is needed of a tensor, cut so that each part lies in one rank's."""
        found = []
        for need in self._needs:
            if (region := need.regions.get(name)) is None:
                continue
            left = [region]
            for other, ranks in sorted(held.items()):
                common = [both for piece in left if (both := piece.intersect(other))]
                found += [_Part(both, ranks, need.ranks) for both in common]
                left = [rest for piece in left for rest in piece.without(other)]
            if left:
                raise SwapError(f"tensor {name}: no rank holds {', '.join(map(str, left))} of it")
        return found

    def _near(self, part: _Part, target: int) -> Ranks:
        """The ranks that `target` may take a part from."""
        if target in part.holders:
            return (target,)
        node = target // self._per_node
        return tuple(rank for rank in part.holders if rank // self._per_node == node) or part.holders

    def _choices(self, part: _Part) -> set[Ranks]:
        return {self._near(part, target) for target in part.targets}

    def _hops(self, parts: Iterable[_Part], turn: int) -> list[Hop]:
        hops: list[Hop] = []
        asked: Counter[object] = Counter()
        for part in parts:
            for target in part.targets:
                near = self._near(part, target)
                source = near[(turn + asked[part.region, near]) % len(near)]
                asked[part.region, near] += 1
                hops.append((part.region, source, target))
        return hops

    def _steps(self, name: str, hops: list[Hop], shape: Shape, room: int) -> tuple[Rows, ...]:
        """All hops, in as many steps as it takes for each to fit."""
        wire, rows = self._wires[name], shape[0]
        grid = wire.grid[0]
        while True:
            steps = list(self._cut(hops, shape[0], rows, wire))
            largest = max(step.load.max() for step in steps)
            if largest <= room:
                return tuple(steps)
            if rows <= grid:
                raise SwapError(
                    f"tensor {name}: {rows} of its rows are {largest} bytes for a rank, a bucket takes {room}: "
                    "make buckets larger (swap.bucket_mb)"
                )
            rows = -(-rows // (2 * grid)) * grid

    def _cut(self, hops: list[Hop], height: int, rows: int, wire: Wire) -> Iterator[Rows]:
        for start in range(0, height, rows):
            last = start + rows >= height
            # what stays where it is takes no room: it is not cut, and comes with the last step
            cut = [
                (part, source, target)
                for region, source, target in hops
                if (part := (region if last else None) if source == target else region.cut(0, start, start + rows))
            ]
            load = np.zeros((2, self._world), dtype=np.int64)
            for part, source, target in cut:
                if source != target:
                    load[0, source] += wire.cost(part)
                    load[1, target] += wire.cost(part)
            yield Rows(tuple(cut), load, last)


def ordered(names: Iterable[str], holders: Holders) -> Iterator[str]:
    """Names so that a module's tensors follow each other, and ranks that hold different ones take turns."""
    modules: dict[str, list[str]] = {}
    for name in names:
        modules.setdefault(module_of(name), []).append(name)
    whose = {key: frozenset(rank for name in group for rank in _ranks(holders, name)) for key, group in modules.items()}
    for module in take_turns(modules, lambda key: whose[key]):
        yield from take_turns(modules[module], lambda name: frozenset(_ranks(holders, name)))


def module_of(name: str) -> str:
    """The module of the engine that a tensor becomes a part of."""
    for pattern, module in _MODULES:
        name = pattern.sub(module, name)
    return name


def take_turns(items: Iterable[str], key: Callable[[str], frozenset[int]]) -> Iterator[str]:
    """Items in turn from each group of the same key; a group keeps its order."""
    groups: dict[frozenset[int], list[str]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return (item for item in chain.from_iterable(zip_longest(*groups.values())) if item is not None)


def _ranks(holders: Holders, name: str) -> Iterator[int]:
    return (rank for ranks in holders.get(name, {}).values() for rank in ranks)
