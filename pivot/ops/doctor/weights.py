"""A Hugging Face checkpoint on disk: are all shards there and whole. Reads headers only, and needs no library."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pivot.ops.doctor.machine import size
from pivot.ops.doctor.row import Row

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
LARGEST_HEADER = 100 << 20  # bytes; the format's own bound
BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "BF16": 2, "F16": 2, "I16": 2, "U16": 2,
         "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1}  # fmt: skip
AGAIN = "fetch the checkpoint again"


class Damaged(Exception):
    """A file is not what it should be; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers say.

    Attributes:
        tensors: how many.
        parameters: their elements.
        size: bytes of all shards.
        shards: how many files.
        layers: numbers of the transformer layers that have tensors.
        notes: what is odd and does not matter.
    """

    tensors: int
    parameters: int
    size: int
    shards: int
    layers: frozenset[int]
    notes: tuple[str, ...] = ()


def read_json(path: Path) -> dict[str, Any]:
    """An object in a file.

    Raises:
        Damaged: it is missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Damaged(f"{path}: no JSON ({error})") from None
    if not isinstance(value, dict):
        raise Damaged(f"{path}: no JSON object")
    return value


def read_header(path: Path) -> dict[str, Any]:
    """Name -> entry of one safetensors file, whose size must be what its header says.

    Raises:
        Damaged: it is missing, cut off, or too long, or its header makes no sense.
    """
    try:
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= LARGEST_HEADER:
                raise Damaged(f"{path}: no safetensors file ({size(path.stat().st_size)})")
            text = file.read(length)
            actual = path.stat().st_size
    except OSError as error:
        raise Damaged(f"{path}: {error.strerror}") from None
    try:
        header = {name: entry for name, entry in json.loads(text).items() if name != "__metadata__"}
        end = _end(header, path)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Damaged(f"{path}: its header is cut off, or no safetensors header") from None
    if actual != 8 + length + end:
        raise Damaged(f"{path}: {actual:,} bytes long; its header says {8 + length + end:,}")
    return header


def _end(header: Mapping[str, Any], path: Path) -> int:
    """Where the last tensor ends; each must be as long as its type and shape say."""
    end = 0
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        width = BYTES.get(entry["dtype"])
        if width is not None and last - first != width * math.prod(entry["shape"]):
            raise Damaged(f"{path}: {name} is {last - first} bytes long, not {entry['dtype']} {entry['shape']}")
        end = max(end, last)
    return end


def read_weights(directory: Path) -> Weights:
    """All shards of a checkpoint.

    Raises:
        Damaged: a shard is missing or damaged, or the index does not fit its shards.
    """
    index: Mapping[str, str] | None = None
    if (directory / INDEX).is_file():
        index = read_json(directory / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise Damaged(f"{directory / INDEX}: no weight_map in it")
        files = sorted(set(index.values()))
    elif (directory / SINGLE).is_file():
        files = [SINGLE]
    else:
        raise Damaged(f"{directory}: no {SINGLE} and no {INDEX}; only safetensors weights are read (no pickles)")
    missing = [file for file in files if not (directory / file).is_file()]
    if missing:
        raise Damaged(f"{directory}: {len(missing)} of {len(files)} shards are missing, {missing[0]} first")
    headers = {file: read_header(directory / file) for file in files}
    notes = []
    if index is not None:
        absent = [name for name, file in index.items() if name not in headers[file]]
        if absent:
            raise Damaged(f"{directory / index[absent[0]]}: no {absent[0]} in it, which {INDEX} promises")
        extra = {path.name for path in directory.glob("*.safetensors")} - set(files)
        if extra:
            notes.append(f"{INDEX} names none of {', '.join(sorted(extra)[:3])}")
    entries = {name: entry for header in headers.values() for name, entry in header.items()}
    return Weights(
        tensors=len(entries),
        parameters=sum(math.prod(entry["shape"]) for entry in entries.values()),
        size=sum((directory / file).stat().st_size for file in files),
        shards=len(files),
        layers=frozenset(number for name in entries if (number := layer_of(name)) is not None),
        notes=tuple(notes),
    )


def layer_of(name: str) -> int | None:
    """The number of the layer that a tensor belongs to."""
    parts = name.split(".")
    return next((int(b) for a, b in pairwise(parts) if a == "layers" and b.isdigit()), None)


def check(directory: Path, key: str = "model.path") -> tuple[list[Row], Weights | None, Mapping[str, Any]]:
    """Rows of a checkpoint, its weights if they are whole, and its config.json if it can be read."""
    config: Mapping[str, Any] = {}
    rows, weights = [], None
    if not directory.is_dir():
        return [Row.red("model.config", f"{key}={directory}: no such directory here",
                        f"set {key} to a Hugging Face checkpoint that every node sees")], None, config  # fmt: skip
    try:
        config = read_json(directory / "config.json")
        rows.append(Row.green("model.config", f"{config.get('model_type')} in {directory}"))
    except Damaged as error:
        rows.append(Row.red("model.config", str(error), AGAIN))
    try:
        weights = read_weights(directory)
    except Damaged as error:
        return [*rows, Row.red("model.weights", str(error), AGAIN)], None, config
    layers = config.get("num_hidden_layers")
    lacking = sorted(set(range(layers)) - weights.layers) if isinstance(layers, int) else []
    found = (
        f"{weights.parameters:,} parameters in {weights.tensors} tensors, {weights.shards} files, {size(weights.size)}"
    )
    if lacking:
        rows.append(Row.red("model.weights", f"no tensors of layer {lacking[0]} ({len(lacking)} of {layers} layers)",
                            AGAIN))  # fmt: skip
    elif weights.notes:
        rows.append(Row.yellow("model.weights", f"{found}; {weights.notes[0]}", "remove files of another checkpoint"))
    else:
        rows.append(Row.green("model.weights", found))
    return rows, weights, config
