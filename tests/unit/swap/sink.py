"""An engine that keeps what it is given."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from torch import Tensor


class Sink:
    """Reads at most `limit` tensors."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.got: dict[str, Tensor] = {}
        self.version = ""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        self.got = dict(islice(weights, self.limit))
        self.version = version
