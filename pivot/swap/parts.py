"""What all ranks hold and need, put together from what each says, and in which form each tensor goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.held import Holding
from pivot.swap.keep import WireSettings, wire_format
from pivot.swap.manifest import Shape
from pivot.swap.needs import EngineShape, needs
from pivot.swap.routes import Holders, Need
from pivot.swap.wire import Wire, aligned


def holders_of(holdings: Sequence[Holding]) -> Holders:
    """Who holds which part, from what each rank holds."""
    found: dict[str, dict[Region, tuple[int, ...]]] = {}
    for rank, holding in enumerate(holdings):
        for name, (regions, _) in holding.items():
            parts = found.setdefault(name, {})
            for region in regions:
                parts[region] = (*parts.get(region, ()), rank)
    return found


def needs_of(shapes: Mapping[str, Shape], places: Sequence[tuple[EngineShape, int]]) -> tuple[Need, ...]:
    """Who needs which part, from how each rank's engine is cut and its place in it."""
    return tuple(
        Need(needs(shapes, *place), tuple(rank for rank, other in enumerate(places) if other == place))
        for place in dict.fromkeys(places)
    )


def choose_wires(
    shapes: Mapping[str, Shape],
    dtypes: Mapping[str, torch.dtype],
    holders: Holders,
    needs: tuple[Need, ...],
    settings: WireSettings,
) -> dict[str, Wire]:
    """How every tensor goes: in FP8 where it is wanted and its parts are whole blocks.

    Raises:
        SwapError: an engine needs a part that cuts through blocks: nobody could quantise it.
    """
    found = {}
    for name, shape in shapes.items():
        dtype, format = dtypes[name], wire_format(name, shape, settings)
        if format is None:
            found[name] = Wire(dtype)
            continue
        for region in (need.regions[name] for need in needs if name in need.regions):
            if not aligned(region, shape, format):
                raise SwapError(
                    f"tensor {name}: an engine needs {region} of it, which cuts through {format.name} blocks"
                )
        whole = all(aligned(region, shape, format) for region in holders[name])
        owners, receivers = (format, None) if whole else (None, format)
        found[name] = Wire(dtype, owners, receivers, settings.loaded)
    return found
