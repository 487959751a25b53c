"""Samples of other weights than the policy's are refused before they are used."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from pivot.swap.errors import SwapError


class Stamped(Protocol):
    """A sample that says which weights it was drawn with."""

    @property
    def weight_version(self) -> str: ...
    @property
    def older(self) -> tuple[tuple[str, int], ...]: ...


def check_versions(groups: Iterable[Sequence[Stamped]], version: str, allowed: Collection[str] = ()) -> None:
    """Refuses samples that were not drawn with the weights of this moment.

    Args:
        groups: The samples of each pivot.
        version: Of the weights.
        allowed: Versions of older weights that may have begun samples of a group; this one has ended it.

    Raises:
        SwapError: naming the versions.
    """
    others = set()
    for group in groups:
        last = {sample.weight_version for sample in group}
        drawn = last | {older for sample in group for older, _ in sample.older}
        others |= drawn - {version, *(allowed if version in last else ())}
    if others:
        raise SwapError(
            f"samples were drawn with weights of version {', '.join(map(repr, sorted(others)))}, the policy is at "
            f"{version!r}: the engine missed a swap"
        )
