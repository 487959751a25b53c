"""A push hands over the whole checkpoint, and says what went over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from pivot.swap import Manifest, SwapError, push
from tests.unit.swap.sink import Sink

WEIGHTS = {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}
MANIFEST = Manifest({"a": (2, 3), "b": (4,)}, {})


class Source:
    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.weights.items())


def test_everything_goes_over() -> None:
    sink = Sink()
    stats = push(Source(WEIGHTS), sink, MANIFEST, "7")
    assert (stats.tensors, stats.bytes) == (2, 2 * 3 * 4 + 4 * 2)
    assert stats.seconds >= 0
    assert sink.got.keys() == WEIGHTS.keys()
    assert sink.version == "7"


def test_a_tensor_too_few_stops() -> None:
    with pytest.raises(SwapError, match="1 of 2 tensors are missing: b"):
        push(Source({"a": WEIGHTS["a"]}), Sink(), MANIFEST, "7")


def test_an_engine_that_stops_reading_is_noticed() -> None:
    with pytest.raises(SwapError, match="stopped reading after 1 of 2"):
        push(Source(WEIGHTS), Sink(limit=1), MANIFEST, "7")
