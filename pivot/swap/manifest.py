"""What a complete set of weights is: every tensor of the checkpoint, by name and shape."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pivot.errors import UserError
from pivot.swap.errors import SwapError

Shape = tuple[int, ...]

_INDEX, _SINGLE, _HEAD = "model.safetensors.index.json", "model.safetensors", "lm_head.weight"


@dataclass(frozen=True, slots=True)
class Manifest:
    """The tensors every swap must carry.

    Attributes:
        shapes: Hugging Face name -> shape, for every tensor that must come.
        optional: The same for tensors that may come: the output head when it is tied to the embedding.
    """

    shapes: Mapping[str, Shape]
    optional: Mapping[str, Shape]

    @classmethod
    def from_checkpoint(cls, path: Path | str) -> Self:
        """Reads the safetensors headers of a Hugging Face checkpoint (one file or an index); no tensor is
        loaded.

        Args:
            path: The checkpoint directory.

        Raises:
            UserError: no safetensors weights in it, an unreadable file, or an index that names a tensor its
            file lacks.
        """
        root = Path(path)
        shapes: dict[str, Shape] = {}
        for file, names in _files(root).items():
            shapes |= _header(root / file, names)
        config = json.loads((root / "config.json").read_text())
        if not config.get("tie_word_embeddings", False):
            return cls(shapes, {})
        embedding = next((shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")), None)
        head = shapes.pop(_HEAD, embedding)
        return cls(shapes, {} if head is None else {_HEAD: head})

    @property
    def digest(self) -> str:
        """SHA-256 of the names and shapes, independent of their order."""
        lines = [f"{name} {list(shape)}" for name, shape in sorted(self.shapes.items())]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def check(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Passes weights on one by one and refuses what does not belong.

        Args:
            weights: Names and full tensors, in any order.

        Raises:
            SwapError: at once on an unexpected, repeated or misshapen tensor; at the end when tensors are
            missing.
        """
        seen: set[str] = set()
        for name, tensor in weights:
            expected = self.shapes.get(name) or self.optional.get(name)
            if expected is None:
                raise SwapError(f"unexpected tensor {name} {list(tensor.shape)}: the checkpoint has none of this name")
            if name in seen:
                raise SwapError(f"tensor {name} came twice")
            if tuple(tensor.shape) != expected:
                raise SwapError(f"tensor {name} has shape {list(tensor.shape)}, the checkpoint's has {list(expected)}")
            seen.add(name)
            yield name, tensor
        missing = sorted(self.shapes.keys() - seen)
        if missing:
            raise SwapError(f"{len(missing)} of {len(self.shapes)} tensors are missing: {', '.join(missing[:8])}")


def _files(root: Path) -> dict[str, list[str] | None]:
    """File name -> tensor names to find in it (None: all it has)."""
    index = root / _INDEX
    if index.is_file():
        files: dict[str, list[str] | None] = {}
        for name, file in json.loads(index.read_text())["weight_map"].items():
            names = files.setdefault(file, [])
            assert names is not None
            names.append(name)
        return files
    if (root / _SINGLE).is_file():
        return {_SINGLE: None}
    raise UserError(f"{root}: no {_SINGLE} and no {_INDEX} here; give a Hugging Face checkpoint in safetensors form")


def _header(path: Path, names: list[str] | None) -> dict[str, Shape]:
    try:
        with safe_open(path, framework="pt") as file:
            found = set(file.keys())
            absent = sorted(set(names or ()) - found)
            if absent:
                raise UserError(f"{path}: the index promises {absent[0]} but the file does not have it")
            return {name: tuple(file.get_slice(name).get_shape()) for name in (names or sorted(found))}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from error
