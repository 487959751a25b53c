"""What this rank holds of the policy at this moment, found by name and region."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from pivot.region import Region
from pivot.swap.errors import SwapError
from pivot.swap.manifest import Shape

Holding = Mapping[str, tuple[tuple[Region, ...], torch.dtype]]
"""Name -> the parts of it that a rank holds, and their dtype."""


class Held:
    """The rank's own parts of tensors: views of parameters, not copies.

    Attributes:
        device: Where they are.
    """

    def __init__(self, shards: Iterable[tuple[str, Region, Tensor]]) -> None:
        """Of `Policy.shards`. Of a part that comes twice (a tied embedding on one stage) the first is kept."""
        self.device = torch.device("cpu")
        self._parts: dict[str, dict[Region, Tensor]] = {}
        for name, region, tensor in shards:
            self._parts.setdefault(name, {}).setdefault(region, tensor)
            self.device = tensor.device

    def holding(self) -> Holding:
        """What is held, without the values."""
        return {name: (tuple(parts), next(iter(parts.values())).dtype) for name, parts in self._parts.items()}

    def misfit(self, shapes: Mapping[str, Shape]) -> str | None:
        """The first part that the checkpoint has no place for, in words; None: all fit."""
        for name, parts in self._parts.items():
            if name not in shapes:
                return f"unexpected tensor {name}: the checkpoint has none of this name"
            whole = Region.whole(shapes[name])
            for region, tensor in parts.items():
                if len(region.bounds) != len(whole.bounds) or region.without(whole):
                    return f"tensor {name}: the policy holds {region} of it, the checkpoint's is {whole}"
                if tuple(tensor.shape) != region.shape:
                    return f"tensor {name}: the policy's part {region} has shape {list(tensor.shape)}"
        return None

    def differs(self, planned: Holding) -> str | None:
        """The first tensor of which other parts are held than was planned with, in words; None: as planned."""
        now = self.holding()
        for name in [*planned, *(now.keys() - planned.keys())]:
            before, after = planned.get(name), now.get(name)
            if before != after:
                return f"tensor {name}: planned with {_words(before)} of it, the policy now holds {_words(after)}"
            for region, tensor in self._parts[name].items():
                if tuple(tensor.shape) != region.shape:
                    return f"tensor {name}: the policy's part {region} has shape {list(tensor.shape)}"
        return None

    def view(self, name: str, region: Region) -> Tensor:
        """This rank's part, which lies in one parameter."""
        parts = self._parts[name]
        if region in parts:
            return parts[region]
        for outer, tensor in parts.items():
            if not region.without(outer):
                return tensor[region.inside(outer).slices]
        raise SwapError(f"tensor {name}: this rank does not hold {region} of it")


def _words(parts: tuple[tuple[Region, ...], torch.dtype] | None) -> str:
    return f"{', '.join(map(str, parts[0]))} in {parts[1]}" if parts else "nothing"
