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

    def tensor(self) -> Tensor:
        """The tensor in its full shape; of what is not needed the values mean nothing."""
        made = self._wire.decode(self._planes)
        if made is not self._planes[0]:
            self.nbytes += made.nbytes
        if tuple(made.shape) == self._shape:
            return made
        full = torch.empty(self._shape, dtype=made.dtype, device=made.device)
        full[self._needed.slices] = made
        self.nbytes += full.nbytes
        return full

    def _places(self, region: Region) -> list[Region]:
        """Where a part lies in the planes."""
        corners = self._wire.planes(self._outer)
        return [part.inside(outer) for (_, part), (_, outer) in zip(self._wire.planes(region), corners, strict=True)]
