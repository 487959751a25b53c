"""What of an engine's weights can be read back under their Hugging Face names."""

from collections.abc import Iterator, Mapping

import torch

# vLLM lays these matrices on top of each other, in this order
_FUSED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}


def read_weights(model: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Full tensors that an engine holds as they were loaded, as views.

    Left out is what it holds a slice of (tensor parallelism) or in a form of its own: packed experts, prepacked
    matrices.

    Args:
        model: vLLM's model.
        shapes: Hugging Face name -> shape of the tensors to look for.
    """
    parameters = dict(model.named_parameters())
    for name, shape in shapes.items():
        fused, start, rows = place(name, shapes)
        found = parameters.get(fused)
        if found is not None and tuple(found.shape) == (rows, *shape[1:]):
            yield name, found.data[start : start + shape[0]]


def place(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int, int]:
    """The engine's parameter that holds a tensor, its first row there, and how many rows that has."""
    for fused, parts in _FUSED.items():
        names = [name.rsplit(".", 2)[0] + f".{part}." + name.rsplit(".", 1)[-1] for part in parts]
        if name in names and all(other in shapes for other in names):
            rows = [shapes[other][0] for other in names]
            index = names.index(name)
            return name.replace(f".{parts[index]}.", f".{fused}."), sum(rows[:index]), sum(rows)
    return name, 0, shapes[name][0]
