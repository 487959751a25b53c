"""The swap of full tensors, which every rank gathers one by one: for policies that cannot say what they hold."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from pivot.swap.errors import SwapError
from pivot.swap.manifest import Manifest


class WeightSource(Protocol):
    """What a swap needs of a policy."""

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Full tensors by Hugging Face name, one at a time; collective over the policy's ranks."""


class WeightSink(Protocol):
    """What a swap needs of an engine."""

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: str) -> None:
        """Reads all weights, in order, and serves them from then on under `version`."""


@dataclass(frozen=True, slots=True)
class SwapStats:
    """One swap of this rank.

    Attributes:
        seconds: Wall time.
        bytes: Loaded into the engine.
        tensors: Loaded into the engine.
        sent: Bytes that this rank sent over the wire, and as many as it `received`; headers included.
        received: Bytes that came over the wire.
        plain: Bytes that would have come, had no tensor been quantised.
        late: Tensors that were quantised where they arrived, not where they came from.
        checks: Parts whose fingerprints were compared.
        extra_bytes: Most memory that was used besides the policy's and the engine's own.
        phases: Seconds by phase; `engine` is what its loading took.
    """

    seconds: float
    bytes: int
    tensors: int
    sent: int = 0
    received: int = 0
    plain: int = 0
    late: int = 0
    checks: int = 0
    extra_bytes: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)

    @property
    def wire_ratio(self) -> float:
        """Bytes that came over the wire, headers included, against those of unquantised tensors; 1 where none did."""
        return self.received / self.plain if self.plain else 1.0

    def metrics(self) -> dict[str, float]:
        """What a step logs of it."""
        found: dict[str, float] = {
            "bytes": self.bytes,
            "wire_bytes": self.received,
            "wire_ratio": self.wire_ratio,
            "extra_bytes": self.extra_bytes,
            "quantised_late": self.late,
            "checked_parts": self.checks,
        }
        seconds = {f"seconds_{phase}": value for phase, value in self.phases.items()}
        return {f"swap/{name}": value for name, value in (found | seconds).items()}


def push(policy: WeightSource, engine: WeightSink, manifest: Manifest, version: str) -> SwapStats:
    """Gathers the policy's weights tensor by tensor and loads them into this rank's engine.

    Collective: every rank calls it, since gathering a tensor involves the ranks that hold its parts.

    Args:
        policy: Source of the weights.
        engine: This rank's engine.
        manifest: What a complete set is.
        version: Stamped on every completion drawn with these weights.

    Raises:
        SwapError: a tensor is unexpected, repeated, misshapen or missing, or the engine did not read them
            all. The engine is then half-updated and refuses to be used.
    """
    sent = size = 0

    def counted() -> Iterator[tuple[str, Tensor]]:
        nonlocal sent, size
        for name, tensor in manifest.check(policy.hf_weights()):
            sent += 1
            size += tensor.numel() * tensor.element_size()
            yield name, tensor

    started = time.perf_counter()
    engine.update_weights(counted(), version)
    if sent < len(manifest.shapes):
        raise SwapError(f"the engine stopped reading after {sent} of {len(manifest.shapes)} tensors")
    return SwapStats(time.perf_counter() - started, size, sent)


class Gathered:
    """`push` after every update, for a policy without shards."""

    def __init__(self, policy: WeightSource, manifest: Manifest) -> None:
        """Of a policy whose complete set of weights is `manifest`."""
        self._policy, self._manifest = policy, manifest

    def push(self, engine: WeightSink, version: str) -> SwapStats:
        """See `push`."""
        return push(self._policy, engine, self._manifest, version)

    def delivered(self) -> Iterator[tuple[str, Tensor]]:
        """Nothing to compare: what is delivered is what the policy exports."""
        return iter(())

    def expected(self, name: str, full: Tensor) -> Tensor:
        """What should be delivered of a full tensor."""
        return full
