"""Which tensors are to blame when engine and policy disagree after a swap."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from torch import Tensor

from pivot import ranks
from pivot.region import Region
from pivot.swap.fingerprint import fingerprint
from pivot.swap.manifest import Shape

_SAID = {
    "delivered": "the swap delivers other values than the policy exports of",
    "loaded": "the engine holds other values than the policy exports of",
}


class Exporter(Protocol):
    """A policy that exports full tensors."""

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every full tensor by its Hugging Face name; collective."""


class Deliveries(Protocol):
    """A swap that can show what it delivers."""

    def delivered(self) -> Iterator[tuple[str, Tensor]]:
        """What this rank's engine would be given now, of every tensor what it needs; collective."""

    def expected(self, name: str, full: Tensor) -> Tensor | None:
        """What should be delivered of a full tensor; None: nothing."""


def marks(weights: Iterable[tuple[str, Tensor]]) -> dict[str, int]:
    """Fingerprints by name: of what can be read back from an engine (`Engine.read_weights`)."""
    return {name: _mark(name, tensor) for name, tensor in weights}


def blame(policy: Exporter, loaded: Mapping[str, int], swap: Deliveries, shapes: Mapping[str, Shape]) -> str:
    """Names the tensors that are not in the engine as the policy has them; collective.

    The policy exports its weights by another way than the swap's: it gathers full tensors. What the swap delivers, and
    what can be read back from the engine, is compared with that, on every rank, and said for all of them.

    Args:
        policy: The source.
        loaded: Fingerprints of what this rank's engine holds (`marks`).
        swap: How the weights came into it.
        shapes: Of the checkpoint's tensors.
    """
    known = {"delivered": marks(swap.delivered()), "loaded": loaded}
    wrong: list[tuple[str, str]] = []
    for name, full in policy.hf_weights():
        part = swap.expected(name, full)
        if part is None:
            continue
        mark = _mark(name, part)
        wrong += [(kind, name) for kind, seen in known.items() if seen.get(name, mark) != mark]
    found = dict.fromkeys(ranks.gather(wrong))
    if not found:
        return (
            f"every tensor is delivered as the policy exports it, and so are the {len(loaded)} of "
            f"{len(shapes)} that can be read back from the engine: look at what it packs, or computes otherwise"
        )
    return "; ".join(
        f"{text} {_listed([name for kind, name in found if kind == said])}"
        for said, text in _SAID.items()
        if any(kind == said for kind, _ in found)
    )


def _mark(name: str, tensor: Tensor) -> int:
    return fingerprint(name, Region.whole(tensor.shape), tensor)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
