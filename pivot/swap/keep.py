"""Which weights go over in FP8 and which stay as they are: one list, for the wire and for the engine."""

from __future__ import annotations

from dataclasses import dataclass

from pivot.swap.formats import Format, Shape


@dataclass(frozen=True, slots=True)
class WireSettings:
    """What weights look like on the wire.

    Attributes:
        format: of the matrices that are quantised; None: every tensor goes over as the policy holds it.
        keep: patterns (``fnmatch``) of Hugging Face names that stay as they are, beside those that always do.
    """

    format: Format | None = None
    keep: tuple[str, ...] = ()


def wire_format(name: str, shape: Shape, settings: WireSettings) -> Format | None:
    """The format of one tensor on the wire; None: as the policy holds it."""
    raise NotImplementedError
