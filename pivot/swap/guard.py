"""Samples of other weights than the policy's are refused before they are used."""

from collections.abc import Iterable
from typing import Protocol

from pivot.swap.errors import SwapError


class Stamped(Protocol):
    """A sample that says which weights it was drawn with."""

    @property
    def weight_version(self) -> str: ...


def check_versions(samples: Iterable[Stamped], version: str) -> None:
    """Refuses samples that were not drawn with the weights of this moment.

    Raises:
        SwapError: naming both versions.
    """
    others = sorted({sample.weight_version for sample in samples} - {version})
    if others:
        raise SwapError(
            f"samples were drawn with weights of version {', '.join(map(repr, others))}, the policy is at {version!r}: "
            "the engine missed a swap"
        )
