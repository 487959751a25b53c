"""What a rank holds of every Hugging Face tensor: rectangles of it, as views of the rank's own parameters.

Every kind of ``hf.py`` cuts its Hugging Face parts into rectangles, so that nothing has to be gathered or copied to
say where a weight lies. Not collective.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from megatron.core.models.gpt import GPTModel
from torch import Tensor

from pivot.policy.hf import Kind, Place, local_parameters, part_shapes, tensor_group
from pivot.region import Region
from pivot.shape import Shape

Shard = tuple[str, Region, Tensor]
"""Hugging Face name, what of it, and that part: a view of a parameter, of the region's shape."""


def shards(chunks: Iterable[GPTModel], shape: Shape) -> Iterator[Shard]:
    """This rank's part of the model; replicated tensors are there on every rank that has a copy.

    A tied output layer on the last stage holds a copy of the embedding and is reported as the embedding.
    """
    for place, parameter in local_parameters(chunks, shape):
        group = tensor_group(place)
        yield from cut(place, parameter.data, shape, group.rank(), group.size())


def cut(place: Place, local: Tensor, shape: Shape, rank: int, parts: int) -> Iterator[Shard]:
    """The rectangles of parameter ``local`` of ``place`` on tensor rank ``rank`` of ``parts``."""
    names, sizes, kind = place.names, part_shapes(place, shape), place.rule.kind
    if kind is Kind.WHOLE:
        yield names[0], Region.whole(sizes[0]), local
    elif kind is Kind.QKV:
        yield from _heads(names, local, shape, rank * (shape.groups // parts), shape.groups // parts)
    elif kind is Kind.COLUMNS:
        rows, columns = sizes[0][0], sizes[0][1] // parts
        yield names[0], Region(((0, rows), (rank * columns, (rank + 1) * columns))), local
    else:  # rows, of one part or of gate and up
        for name, size, view in zip(names, sizes, local.chunk(len(names)), strict=True):
            rows = size[0] // parts
            yield name, _rows(rank * rows, view), view


def _heads(names: tuple[str, ...], local: Tensor, shape: Shape, first: int, count: int) -> Iterator[Shard]:
    """Per key/value group its query heads, key and value, one after the other."""
    heights = shape.heads // shape.groups * shape.head, shape.head, shape.head
    for group in range(count):
        start = group * sum(heights)
        for name, rows in zip(names, heights, strict=True):
            view = local[start : start + rows]
            yield name, _rows((first + group) * rows, view), view
            start += rows


def _rows(first: int, view: Tensor) -> Region:
    """The rows that ``view`` is, from ``first`` on."""
    return Region(((first, first + view.size(0)), *((0, size) for size in view.shape[1:])))
