"""Checkpoints that are complete or absent: their files, how one is verified, and how one is loaded.

A checkpoint is a directory with Megatron's ``dist_checkpointing`` files in ``model`` (weights and optimizer, which
another layout may read), every rank's random state in ``rng``, and ``manifest.json`` with the size and hash of each
file and a hash of itself. ``checkpoint_write.py`` writes it.
"""

from __future__ import annotations

import hashlib
import json
import random
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch.distributed.checkpoint.api import CheckpointException

from pivot.layout import Layout

FORMAT = 2
MANIFEST = "manifest.json"
PARTS = {"format", "world", "layout", "extra", "files"}


class CheckpointError(Exception):
    """A checkpoint can't be written, or is absent, half written, damaged or of another model; one line."""


def verify(directory: Path, *, hashes: bool = True) -> dict[str, Any]:
    """Checks a checkpoint without loading it; needs no process group.

    Args:
        directory: the checkpoint.
        hashes: also read every file and compare its SHA-256, not just its size.

    Returns:
        The manifest: ``format``, ``world``, ``layout``, ``extra``, ``files{name: {bytes, sha256}}``.

    Raises:
        CheckpointError: with the reason.
    """
    manifest = _read_manifest(directory)
    for name, expected in manifest["files"].items():
        _check_file(directory, name, expected, hashes=hashes)
    return manifest


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` with its own hash as ``sha256``, so that a flipped byte in a manifest shows as well."""
    text = json.dumps(content, sort_keys=True)
    return {**content, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def file_entry(file: Path) -> dict[str, Any]:
    """What a manifest says about a file."""
    return {"bytes": file.stat().st_size, "sha256": _sha256(file)}


def _read_manifest(directory: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is not a complete checkpoint: {MANIFEST} does not exist") from error
    except OSError as error:
        raise CheckpointError(f"{directory}/{MANIFEST} can't be read: {error}") from error
    except ValueError as error:  # of JSON or of its encoding
        raise CheckpointError(f"{directory}/{MANIFEST} is damaged: {error}") from error
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{directory}/{MANIFEST} is damaged: it holds no mapping")
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{directory} has checkpoint format {manifest.get('format')}, not {FORMAT}")
    digest = manifest.pop("sha256", None)
    if manifest.keys() != PARTS or seal(manifest)["sha256"] != digest:
        raise CheckpointError(f"{directory}/{MANIFEST} is damaged: it does not match its own hash")
    return manifest


def _check_file(directory: Path, name: str, expected: dict[str, Any], *, hashes: bool) -> None:
    """Raises CheckpointError when a file is not what the manifest says."""
    file = directory / name
    try:
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{directory} is damaged: {name} has {size} bytes, not {expected['bytes']}")
        if hashes and _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{directory} is damaged: the content of {name} does not match its hash")
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is damaged: {name} is missing") from error
    except OSError as error:
        raise CheckpointError(f"{directory} is damaged: {name} can't be read: {error}") from error


def load(directory: Path, chunks: list[GPTModel], optimizer: MegatronOptimizer, layout: Layout) -> dict[str, Any]:
    """Restores what ``save`` wrote and returns its ``extra``; collective.

    With another layout or another number of ranks, weights and optimizer are resharded and random states are
    left as they are, with a warning.

    Raises:
        CheckpointError: on every rank, with the reason. Nothing was changed then, unless the checkpoint is of another
            model: Megatron clears what it is about to read before it compares, so the policy is of no use any more.
    """
    directory = directory.absolute()
    manifest = _verify_together(directory)
    metadata = content_metadata()
    metadata.update(dist_checkpointing.load_content_metadata(str(directory / "model")))
    create_moments(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates what Megatron 0.16.1 reads with
        try:
            state = dist_checkpointing.load(
                sharded_state(chunks, optimizer, metadata, loading=True),
                str(directory / "model"),
                strict=dist_checkpointing.validation.StrictHandling.RAISE_ALL,
            )
        except CheckpointingException as error:
            raise _of_another_model(directory, error) from error
        except CheckpointException as error:  # torch's, of what happened on any rank while it planned or read
            _, (cause, _) = min(error.failures.items())
            if isinstance(cause, CheckpointingException):
                raise _of_another_model(directory, cause) from error
            raise CheckpointError(f"{directory} can't be read: {str(cause).splitlines()[0]}") from error
    for i, chunk in enumerate(chunks):
        chunk.load_state_dict(state[f"model{i}"])
    optimizer.load_state_dict(state["optimizer"])
    if manifest["layout"] == asdict(layout) and manifest["world"] == dist.get_world_size():
        _set_random_state(torch.load(directory / "rng" / f"{dist.get_rank():05d}.pt", weights_only=True))
    elif dist.get_rank() == 0:
        warnings.warn(
            f"{directory} was written by {manifest['world']} ranks with {manifest['layout']}: random states "
            "are not restored, so this run is not the exact continuation of that one",
            stacklevel=2,
        )
    return dict(manifest["extra"])


def _of_another_model(directory: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(
        f"{directory} is of another model than this one: set another run.dir, or model.path to its own "
        f"({str(error).splitlines()[0]})"
    )


def content_metadata() -> dict[str, Any]:
    return {
        # the default, fully_sharded_model_space, does not work in 0.16.1
        "distrib_optim_sharding_type": "fully_reshardable",
        "singleton_local_shards": False,
        "chained_optim_avoid_prefix": True,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }


def sharded_state(
    chunks: list[GPTModel], optimizer: MegatronOptimizer, metadata: dict[str, Any], *, loading: bool
) -> dict[str, Any]:
    models = {f"model{i}": chunk.sharded_state_dict(metadata=metadata) for i, chunk in enumerate(chunks)}
    whole = models["model0"] if len(chunks) == 1 else models
    state = optimizer.sharded_state_dict(whole, is_loading=loading, metadata=metadata)
    return {**models, "optimizer": state}


def create_moments(optimizer: MegatronOptimizer) -> None:
    """Moments are made at the first step; a checkpoint has them from the start, hence always one form."""
    for part in optimizer.chained_optimizers:
        if part.init_state_fn is not None and part.optimizer is not None:
            part.init_state_fn(part.optimizer, part.config)


def random_state() -> dict[str, Any]:
    """Every random state of this rank, in types that ``torch.load(weights_only=True)`` accepts."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = cast("tuple[Any, ...]", np.random.get_state(legacy=True))
    state = {
        "torch": torch.get_rng_state(),
        "megatron": tensor_parallel.get_cuda_rng_tracker().get_states(),
        "python": [version, list(words), gauss],
        "numpy": [kind, keys.tolist(), position, has_gauss, cached],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    tensor_parallel.get_cuda_rng_tracker().set_states(state["megatron"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _verify_together(directory: Path) -> dict[str, Any]:
    """``verify`` with the hashing shared among the ranks; the manifest, or a CheckpointError, on every rank."""
    box: list[Any] = [None]
    error: str | None = None
    if dist.get_rank() == 0:
        try:
            box[0] = verify(directory, hashes=False)
        except CheckpointError as found:
            error = str(found)
    dist.broadcast_object_list(box, src=0)
    if box[0] is not None:
        names = sorted(box[0]["files"])
        try:
            for name in names[dist.get_rank() :: dist.get_world_size()]:
                _check_file(directory, name, box[0]["files"][name], hashes=True)
        except CheckpointError as found:
            error = str(found)
    errors: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(errors, error)
    for each in errors:
        if each is not None:
            raise CheckpointError(each)
    return dict(box[0])


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
