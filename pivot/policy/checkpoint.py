"""Checkpoints that are complete or absent: weights, optimizer and every rank's random state.

The directory is written beside its final name, every file is flushed to disk, ``manifest.json`` with the size
and hash of each file is written last, and only then is the directory renamed. Whatever is interrupted before
that leaves a ``.tmp-`` directory that nothing reads. Weights and optimizer use Megatron's
``dist_checkpointing`` (torch_dist), so another layout may read them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
import torch.distributed.checkpoint
from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
from megatron.core.dist_checkpointing.core import CheckpointingException
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch.distributed.checkpoint import FileSystemWriter

from pivot.layout import Layout

FORMAT = 1
MANIFEST = "manifest.json"


class CheckpointError(Exception):
    """A checkpoint is absent, half written, damaged or of another model; the message is one line."""


class _DirectSave(TorchDistSaveShardedStrategy):
    """Megatron's torch_dist format, written by this process.

    Megatron's own strategy spawns a manager process, which imports the running program once more (seconds,
    and an error in a program without a ``__main__`` guard), and forks a process that holds gloo and engine
    threads.
    """

    def save(self, sharded_state_dict: Any, checkpoint_dir: str | Path) -> None:
        """Writes the sharded tensors of this rank below ``checkpoint_dir``; collective."""
        renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        torch.distributed.checkpoint.save(
            mcore_to_pyt_state_dict(renamed, False),
            storage_writer=FileSystemWriter(checkpoint_dir, sync_files=False),
            planner=MCoreSavePlanner(
                dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False
            ),
        )


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
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{directory} is not a complete checkpoint: {MANIFEST} does not exist") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{directory}/{MANIFEST} is damaged: {error}") from error
    if manifest.get("format") != FORMAT:
        raise CheckpointError(f"{directory} has checkpoint format {manifest.get('format')}, not {FORMAT}")
    for name, expected in manifest["files"].items():
        file = directory / name
        if not file.exists():
            raise CheckpointError(f"{directory} is damaged: {name} is missing")
        size = file.stat().st_size
        if size != expected["bytes"]:
            raise CheckpointError(f"{directory} is damaged: {name} has {size} bytes, not {expected['bytes']}")
        if hashes and _sha256(file) != expected["sha256"]:
            raise CheckpointError(f"{directory} is damaged: the content of {name} does not match its hash")
    return dict(manifest)


def save(
    directory: Path,
    chunks: list[GPTModel],
    optimizer: MegatronOptimizer,
    layout: Layout,
    extra: dict[str, Any],
) -> None:
    """Writes a checkpoint; collective. ``directory`` holds it completely when this returns, on every rank.

    Args:
        directory: final place; what is there is replaced.
        chunks: this rank's unwrapped model chunks.
        optimizer: their optimizer.
        layout: recorded, to know on loading whether random states apply.
        extra: JSON-able state of the caller, returned by ``load``.
    """
    directory = directory.absolute()
    temporary = directory.with_name(directory.name + ".tmp-writing")
    text = json.dumps(extra)  # fails before anything is written
    if dist.get_rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "model").mkdir(parents=True)
        (temporary / "rng").mkdir()
    dist.barrier()
    _create_moments(optimizer)
    metadata = _metadata()
    dist_checkpointing.save(
        _sharded(chunks, optimizer, metadata, loading=False),
        str(temporary / "model"),
        _DirectSave("torch_dist", 1),
        content_metadata={key: value for key, value in metadata.items() if key != "dp_cp_group"},
    )
    torch.save(_random_state(), temporary / "rng" / f"{dist.get_rank():05d}.pt")
    dist.barrier()
    _seal(temporary, {"layout": asdict(layout), "extra": json.loads(text)})
    if dist.get_rank() == 0:
        _publish(temporary, directory)
    dist.barrier()


def load(directory: Path, chunks: list[GPTModel], optimizer: MegatronOptimizer, layout: Layout) -> dict[str, Any]:
    """Restores what ``save`` wrote and returns its ``extra``; collective.

    With another layout or another number of ranks, weights and optimizer are resharded and random states are
    left as they are, with a warning.

    Raises:
        CheckpointError: on every rank, with the reason; nothing was changed then.
    """
    directory = directory.absolute()
    manifest = _verify_together(directory)
    metadata = _metadata()
    metadata.update(dist_checkpointing.load_content_metadata(str(directory / "model")))
    _create_moments(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates what Megatron 0.16.1 reads with
        try:
            state = dist_checkpointing.load(
                _sharded(chunks, optimizer, metadata, loading=True),
                str(directory / "model"),
                strict=dist_checkpointing.validation.StrictHandling.RAISE_ALL,
            )
        except CheckpointingException as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{directory} does not fit this model: {reason}") from error
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


def _metadata() -> dict[str, Any]:
    return {
        # the default, fully_sharded_model_space, does not work in 0.16.1
        "distrib_optim_sharding_type": "fully_reshardable",
        "singleton_local_shards": False,
        "chained_optim_avoid_prefix": True,
        "dp_cp_group": parallel_state.get_data_parallel_group(with_context_parallel=True),
    }


def _sharded(
    chunks: list[GPTModel], optimizer: MegatronOptimizer, metadata: dict[str, Any], *, loading: bool
) -> dict[str, Any]:
    models = {f"model{i}": chunk.sharded_state_dict(metadata=metadata) for i, chunk in enumerate(chunks)}
    whole = models["model0"] if len(chunks) == 1 else models
    state = optimizer.sharded_state_dict(whole, is_loading=loading, metadata=metadata)
    return {**models, "optimizer": state}


def _create_moments(optimizer: MegatronOptimizer) -> None:
    """Moments are made at the first step; a checkpoint has them from the start, hence always one form."""
    for part in optimizer.chained_optimizers:
        if part.init_state_fn is not None and part.optimizer is not None:
            part.init_state_fn(part.optimizer, part.config)


def _random_state() -> dict[str, Any]:
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


def _seal(temporary: Path, about: dict[str, Any]) -> None:
    """Flushes and hashes every file (each rank takes a share), then writes the manifest."""
    files = sorted(str(f.relative_to(temporary)) for f in temporary.rglob("*") if f.is_file())
    mine = {}
    for name in files[dist.get_rank() :: dist.get_world_size()]:
        file = temporary / name
        _flush(file)
        mine[name] = {"bytes": file.stat().st_size, "sha256": _sha256(file)}
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, mine)
    if dist.get_rank() == 0:
        found = {name: entry for share in shares for name, entry in share.items()}
        manifest = {
            "format": FORMAT,
            "world": dist.get_world_size(),
            **about,
            "files": dict(sorted(found.items())),
        }
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in (temporary / MANIFEST, temporary / "model", temporary / "rng", temporary):
            _flush(path)


def _publish(temporary: Path, directory: Path) -> None:
    """Gives the finished directory its name; an older checkpoint of that name goes only afterwards."""
    old = directory.with_name(directory.name + ".tmp-old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    temporary.rename(directory)
    _flush(directory.parent)
    shutil.rmtree(old, ignore_errors=True)


def _verify_together(directory: Path) -> dict[str, Any]:
    """``verify`` on rank 0; its manifest, or its CheckpointError, on every rank."""
    box: list[Any] = [None, None]
    if dist.get_rank() == 0:
        try:
            box[0] = verify(directory)
        except CheckpointError as error:
            box[1] = str(error)
    dist.broadcast_object_list(box, src=0)
    if box[1] is not None:
        raise CheckpointError(box[1])
    return dict(box[0])


def _sha256(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """fsync of a file or directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
