"""A tensor on its way into the engine: put together from parts, each of them once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pivot.region import Region, missing
from pivot.swap.fingerprint import fingerprint
from pivot.swap.wire import Wire


class Assembly:
    """A tensor of which parts arrive; it has memory of its own, for an engine may keep it for a while.

    Attributes:
        name: Its Hugging Face name.
        nbytes: Memory that it has taken so far.
    """

    def __init__(self, name: str, shape: Sequence[int], needed: Region, wire: Wire, device: torch.device) -> None:
        """Of a tensor `name` of `shape`, of which `needed` is put together."""
        self.name = name
        self._shape = tuple(shape)
        self._needed = needed
        self._wire = wire
        # quantised values are put together in the shape of what is needed; others at once in the full shape
        self._outer = needed if wire.format is not None else Region.whole(shape)
        outer = wire.planes(self._outer)
        self._planes = tuple(torch.empty(plane.shape, dtype=dtype, device=device) for dtype, plane in outer)
        self.nbytes = sum(plane.nbytes for plane in self._planes)
        self._parts: list[Region] = []
        self._marks: list[tuple[Region, int]] = []

    def put(self, region: Region, planes: tuple[Tensor, ...], mark: int | None) -> None:
        """Copies a part in.

        Args:
            region: Which part of the tensor.
            planes: The part, as `Wire.encode` makes it.
            mark: The fingerprint that its owner took of it; None: none was taken.
        """
        for full, part, where in zip(self._planes, planes, self._places(region), strict=True):
            full[where.slices].copy_(part)
        self._parts.append(region)
        if mark is not None:
            self._marks.append((region, mark))

    @property
    def checks(self) -> int:
        """How many parts `changed` looks at."""
        return len(self._marks)

    def missing(self) -> list[Region]:
        """What has not come."""
        return missing(self._needed, self._parts)

    def twice(self) -> list[Region]:
        """Parts of which something came before."""
        seen: list[Region] = []
        found = []
        for part in self._parts:
            if any(part.intersect(other) for other in seen):
                found.append(part)
            seen.append(part)
        return found

    def changed(self) -> list[Region]:
        """Parts that are not what their owner took the fingerprint of."""
        found = []
        for region, mark in self._marks:
            planes = [full[where.slices] for full, where in zip(self._planes, self._places(region), strict=True)]
            if fingerprint(self.name, region, *planes) != mark:
                found.append(region)
        return found

    def tensors(self) -> list[tuple[str, Tensor]]:
        """What an engine loads, each in its full shape; of what is not needed the values mean nothing."""
        made = self._wire.load(self._planes)
        self.nbytes += sum(tensor.nbytes for tensor in made if not any(tensor is plane for plane in self._planes))
        named, whole = zip(self._wire.loads(self.name), made, strict=True), Region.whole(self._shape)
        if self._outer == whole:
            return list(named)
        found = []
        planes = zip(self._wire.planes(whole), self._wire.planes(self._outer), strict=True)
        for (name, tensor), ((_, outer), (_, place)) in zip(named, planes, strict=False):
            full = torch.empty(outer.shape, dtype=tensor.dtype, device=tensor.device)
            full[place.slices] = tensor
            self.nbytes += full.nbytes
            found.append((name, full))
        return found

    def _places(self, region: Region) -> list[Region]:
        """Where a part lies in the planes."""
        corners = self._wire.planes(self._outer)
        return [part.inside(outer) for (_, part), (_, outer) in zip(self._wire.planes(region), corners, strict=True)]
