"""A tensor on its way into the engine: put together from parts, each of them once."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pivot.region import Region, missing
from pivot.swap.fingerprint import fingerprint


@dataclass(slots=True)
class Assembly:
    """A tensor of which parts arrive.

    Attributes:
        name: Its Hugging Face name.
        shape: Of the whole tensor; what nobody needs of it stays undefined.
        parts: What has arrived, with the fingerprint that its owner took (None: none was asked for).
    """

    name: str
    shape: tuple[int, ...]
    parts: list[tuple[Region, int | None]] = field(default_factory=list)
    _full: Tensor | None = None

    def put(self, region: Region, data: Tensor, print_: int | None) -> None:
        """Takes a part; `data` of the region's shape is copied, for it lies in a buffer that is used again."""
        if self._full is None:
            self._full = torch.empty(self.shape, dtype=data.dtype, device=data.device)
        self._full[region.slices].copy_(data)
        self.parts.append((region, print_))

    def keep(self, data: Tensor) -> None:
        """Takes the whole tensor as it is, without a copy."""
        self._full = data
        self.parts.append((Region.whole(self.shape), None))
