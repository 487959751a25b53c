"""Rectangles of tensors: what a rank holds of a tensor, what an engine needs of it, and what goes between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A rectangle of a tensor: for each dimension a half-open range, none of them empty.

    Attributes:
        bounds: (first, past the last) index of every dimension.
    """

    bounds: tuple[tuple[int, int], ...]

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Region:
        """All of a tensor of this shape."""
        return cls(tuple((0, size) for size in shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.bounds)

    @property
    def numel(self) -> int:
        return math.prod(stop - start for start, stop in self.bounds)

    @property
    def slices(self) -> tuple[slice, ...]:
        """What indexes the region in the whole tensor."""
        return tuple(slice(start, stop) for start, stop in self.bounds)

    def cut(self, dimension: int, start: int, stop: int) -> Region | None:
        """The part between `start` and `stop` of one dimension; None where that is empty."""
        first, last = self.bounds[dimension]
        first, last = max(first, start), min(last, stop)
        if first >= last:
            return None
        return Region((*self.bounds[:dimension], (first, last), *self.bounds[dimension + 1 :]))

    def intersect(self, other: Region) -> Region | None:
        """What both have in common; None where that is nothing."""
        both = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(self.bounds, other.bounds, strict=True))
        return Region(both) if all(start < stop for start, stop in both) else None

    def inside(self, outer: Region) -> Region:
        """The same rectangle, counted from the corner of `outer`, which holds it."""
        pairs = zip(self.bounds, outer.bounds, strict=True)
        return Region(tuple((start - corner, stop - corner) for (start, stop), (corner, _) in pairs))

    def without(self, other: Region) -> list[Region]:
        """What is left when `other` is taken away, in disjoint rectangles."""
        common = self.intersect(other)
        if common is None:
            return [self]
        left, rest = [], self
        for dimension, (start, stop) in enumerate(common.bounds):
            first, last = rest.bounds[dimension]
            left += [part for part in (rest.cut(dimension, first, start), rest.cut(dimension, stop, last)) if part]
            kept = rest.cut(dimension, start, stop)
            assert kept is not None
            rest = kept
        return left

    def __str__(self) -> str:
        return "[" + ", ".join(f"{start}:{stop}" for start, stop in self.bounds) + "]"


def missing(needed: Region, parts: Iterable[Region]) -> list[Region]:
    """What `parts` do not cover of `needed`, in disjoint rectangles."""
    left = [needed]
    for part in parts:
        left = [rest for piece in left for rest in piece.without(part)]
        if not left:
            break
    return left
