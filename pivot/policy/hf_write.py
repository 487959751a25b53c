"""A Hugging Face checkpoint on disk: tensors as they come, in files of a few gigabytes, and what lies beside them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SHARD_BYTES = 4 << 30


class ShardWriter:
    """Collects tensors into safetensors files of at most ``limit`` bytes (or one tensor)."""

    def __init__(self, directory: Path, limit: int = SHARD_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob("model*.safetensors*"):
            stale.unlink()
        self._directory = directory
        self._limit = limit
        self._where: dict[str, int] = {}  # tensor -> number of its file
        self._count = 1
        self._pending: dict[str, Tensor] = {}
        self._used = self._total = 0

    def add(self, name: str, tensor: Tensor) -> None:
        """Takes the next tensor; raises ValueError for a name that came before."""
        if name in self._where:
            raise ValueError(f"tensor {name} came twice")
        if self._pending and self._used + tensor.nbytes > self._limit:
            self._write()
            self._count += 1
        self._pending[name] = tensor.cpu()
        self._where[name] = self._count
        self._used += tensor.nbytes
        self._total += tensor.nbytes

    def _partial(self, number: int) -> Path:
        return self._directory / f"model-{number:05d}.safetensors.partial"

    def _write(self) -> None:
        save_file(self._pending, self._partial(self._count), metadata={"format": "pt"})
        self._pending, self._used = {}, 0

    def close(self) -> None:
        """Writes what is left, gives the files their names, and writes the index when there are several."""
        self._write()
        count = self._count
        names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
        if count == 1:
            names = ["model.safetensors"]
        for number, name in enumerate(names, 1):
            self._partial(number).rename(self._directory / name)
        if count > 1:
            where = {tensor: names[number - 1] for tensor, number in self._where.items()}
            index = {"metadata": {"total_size": self._total}, "weight_map": where}
            text = json.dumps(index, indent=1)
            (self._directory / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def copy_companions(directory: Path, source: Path, hf_config: dict[str, Any], dtype: torch.dtype) -> None:
    """Everything of ``source`` that is not weights, with the dtype in config.json made true."""
    if source.resolve() != directory.resolve():
        for file in source.iterdir():
            if (
                file.is_file()
                and file.suffix in (".json", ".jinja", ".txt", ".model", ".md", "")
                and "safetensors" not in file.name
            ):
                shutil.copyfile(file, directory / file.name)
    key = "torch_dtype" if "torch_dtype" in hf_config else "dtype"
    config = {**hf_config, key: str(dtype).removeprefix("torch.")}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
