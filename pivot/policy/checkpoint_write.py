"""Writing checkpoints, in front of training or behind its back; one appears under its name only when it is whole.

The caller's thread captures the state: Megatron's sharded state dict (copied to host memory when training goes on),
random states and the caller's own state. A thread of this process then writes it into a directory beside the final
name, flushes and hashes every file, writes ``manifest.json``, flushes that, and renames. Processes are never forked:
they hold threads of gloo and of the inference engine, which a child would inherit half alive. The thread talks to the
other ranks over a gloo group that nothing else uses, so its collectives can't mix with those of training.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.checkpoint
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.core import CheckpointingConfig, CheckpointingException, save_config
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from pivot.layout import Layout
from pivot.policy.checkpoint import (
    FORMAT,
    MANIFEST,
    CheckpointError,
    content_metadata,
    create_moments,
    file_entry,
    random_state,
    seal,
    sharded_state,
)
from pivot.write_errors import reason, system_error

WRITING, REPLACED, DELETED = ".tmp-writing", ".tmp-old", ".tmp-gone"
POLL = 0.05  # seconds between two looks at whether every rank has written
GRACE = 10.0  # seconds in which the ranks of a failed save all come to know its reason

T = TypeVar("T")


class Saver:
    """Writes one policy's checkpoints, one at a time. Every method but ``drain`` is collective.

    Attributes:
        seconds: From the start of the newest save that is whole to its end; None before.
    """

    def __init__(self) -> None:
        self._groups: tuple[dist.ProcessGroup, dist.ProcessGroup] | None = None  # of callers, of the thread
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._name = ""  # of this program's own temporary directories
        self._running: concurrent.futures.Future[float] | None = None
        self.seconds: float | None = None

    def save(
        self,
        directory: Path,
        chunks: list[GPTModel],
        optimizer: MegatronOptimizer,
        layout: Layout,
        extra: dict[str, Any],
        *,
        background: bool,
        random: bytes | None = None,
        fence: Callable[[], None] | None = None,
    ) -> None:
        """Captures the state as it is now and writes it; waits for the save before it.

        Args:
            directory: final place; what is there is replaced.
            chunks: this rank's unwrapped model chunks.
            optimizer: their optimizer.
            layout: recorded, to know on loading whether random states apply.
            extra: JSON-able state of the caller, returned by ``load``.
            background: return once the state is copied to host memory; ``finish`` says when it is on disk.
            random: this rank's random state of an earlier moment, by ``serialized_random_state``; None: of now.
            fence: called on rank 0 before the checkpoint gets its name, which a RuntimeError keeps from it.

        Raises:
            CheckpointError: on every rank, with the reason, of this save or of the one before it.
        """
        about = {"layout": asdict(layout), "extra": json.loads(json.dumps(extra))}  # fails before anything is written
        self.finish()
        if self._groups is None:
            self._groups = dist.new_group(backend="gloo"), dist.new_group(backend="gloo")
            self._name = gather(self._groups[0], os.urandom(4).hex())[0]
        control, writing = self._groups
        place = Place(directory.absolute(), self._name)
        create_moments(optimizer)
        with_removal(place, lambda: place.together(control, place.prepare))
        state = with_removal(
            place, lambda: place.together(control, lambda: _capture(chunks, optimizer, place.model, copy=background))
        )
        job = _Job(place, state, random or serialized_random_state(), about, writing, fence, time.monotonic())
        if background:
            self._running = self._thread.submit(job.run)
        else:
            self.seconds = job.run()

    def finish(self, *, wait: bool = True) -> bool:
        """Whether no save is running on any rank; with ``wait``, not before that is so.

        Raises:
            CheckpointError: the save failed, on every rank, with the reason; what was on disk before it still is.
        """
        if self._running is None or self._groups is None:
            return True
        running = self._running
        while True:
            done = running.done()
            failed = done and running.exception() is not None
            flags = torch.tensor([not done, failed], dtype=torch.int32)
            dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._groups[0])
            somewhere_running, somewhere_failed = flags.tolist()
            if somewhere_failed or not somewhere_running:
                break
            if not wait:
                return False
            concurrent.futures.wait([running], timeout=POLL)
        self._running = None
        if not somewhere_failed:
            self.seconds = running.result()
        if somewhere_failed:
            concurrent.futures.wait([running], timeout=GRACE)
            if running.done():
                running.result()
            raise CheckpointError("a checkpoint could not be written: another rank failed, and says why")
        return True

    def drain(self, seconds: float) -> None:
        """Waits for this rank's part of a running save, at most so long, and says nothing; not collective.

        For a program that ends on an error: what is half written may still become whole.
        """
        if self._running is not None:
            concurrent.futures.wait([self._running], timeout=seconds)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint is going to be, and the directories beside it while it is being written.

    Attributes:
        final: The checkpoint.
        writer: Names the program that writes it: a replaced one that does not know it yet writes into no other's files.
    """

    final: Path
    writer: str

    @property
    def temporary(self) -> Path:
        """Holds the checkpoint until it is whole."""
        return self.final.with_name(f"{self.final.name}.{self.writer}{WRITING}")

    @property
    def model(self) -> Path:
        """Megatron's part of it."""
        return self.temporary / "model"

    def prepare(self) -> None:
        """On rank 0: an empty directory, and nothing of a killed save of the same name."""
        if dist.get_rank() == 0:
            recover(self.final)
            self.model.mkdir(parents=True)
            (self.temporary / "rng").mkdir()

    def together(self, group: dist.ProcessGroup, work: Callable[[], T]) -> T:
        """Every rank does its ``work``; this rank's result, or the same CheckpointError on every rank."""
        value: T | None = None
        error: str | None = None
        try:
            value = work()
        except (OSError, RuntimeError, CheckpointingException) as found:  # torch reports failed writes as RuntimeError
            error = reason(system_error(found, self.final.parent))
        for rank, each in enumerate(gather(group, error)):
            if each is not None:
                raise self.error(rank, each)
        return value  # type: ignore[return-value]

    def error(self, rank: int, reason: str) -> CheckpointError:
        """The one line about a save that failed."""
        return CheckpointError(f"{self.final} could not be written: {reason} (rank {rank})")


@dataclass(frozen=True, slots=True)
class _Job:
    """Everything that a save writes; holds nothing that training changes when it was captured as a copy."""

    place: Place
    state: dict[str, Any]
    random: bytes
    about: dict[str, Any]
    group: dist.ProcessGroup
    fence: Callable[[], None] | None
    start: float

    def run(self) -> float:
        """Writes, seals and publishes; collective over ``group``. Seconds since ``start``."""
        with_removal(self.place, self._run)
        return time.monotonic() - self.start

    def _run(self) -> None:
        try:
            torch.distributed.checkpoint.save(
                self.state,
                storage_writer=_Writer(self.place.model, sync_files=False),
                planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
                process_group=self.group,
            )
        except CheckpointException as error:
            rank, (cause, _) = min(error.failures.items())
            raise self.place.error(rank, reason(cause)) from error
        mine = self.place.together(self.group, self._write_rest)
        found = {name: entry for share in gather(self.group, mine) for name, entry in share.items()}
        self.place.together(self.group, lambda: self._publish(found))

    def _write_rest(self) -> dict[str, Any]:
        """Random state, Megatron's own description; then flushes and hashes what this rank has written."""
        rank, temporary = dist.get_rank(), self.place.temporary
        (temporary / "rng" / f"{rank:05d}.pt").write_bytes(self.random)
        if rank == 0:
            save_config(CheckpointingConfig("torch_dist", 1), str(self.place.model))
        mine = {}
        for file in written_by(rank, temporary):
            _flush(file)
            mine[str(file.relative_to(temporary))] = file_entry(file)
        return mine

    def _publish(self, found: dict[str, Any]) -> None:
        """On rank 0: the manifest, then the name; an older checkpoint of that name goes only afterwards."""
        if dist.get_rank() != 0:
            return
        temporary, final = self.place.temporary, self.place.final
        content = {"format": FORMAT, "world": dist.get_world_size(), **self.about, "files": dict(sorted(found.items()))}
        (temporary / MANIFEST).write_text(json.dumps(seal(content), indent=1), encoding="utf-8")
        for path in (temporary / MANIFEST, temporary / "model", temporary / "rng", temporary):
            _flush(path)
        old = final.with_name(final.name + REPLACED)
        if self.fence is not None:
            self.fence()
        if final.exists():
            final.rename(old)
        temporary.rename(final)
        _flush(final.parent)
        shutil.rmtree(old, ignore_errors=True)


class _Writer(FileSystemWriter):
    """Torch's writer, which leaves out where and when (equal states are equal bytes) and says why it failed."""

    def storage_meta(self) -> None:
        """No path and no random identifier."""

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """As torch's, but a full disk is an OSError: of what other ranks are sent only that survives."""
        try:
            return super().write_data(plan, planner)
        except RuntimeError as error:
            raise system_error(error, Path(self.path)) from None


class _Staging(TorchDistSaveShardedStrategy):
    """Megatron's torch_dist format up to the writing, which Megatron would do in a forked or spawned process."""

    def __init__(self, *, copy: bool) -> None:
        super().__init__("torch_dist", 1)
        self._copy = copy
        self.state: dict[str, Any] = {}

    def async_save(self, sharded_state_dict: Any, checkpoint_dir: str | Path, *_: Any) -> AsyncRequest:
        """Keeps what this rank has to write in ``state``, in torch's form."""
        named, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        if self._copy:
            for shard in (shard for shards in named.values() for shard in shards if isinstance(shard, ShardedTensor)):
                shard.data = shard.data.detach().to("cpu", copy=True)
        self.state = mcore_to_pyt_state_dict(named, False)  # other objects are turned into bytes here
        return AsyncRequest(None, (), [])


def _capture(chunks: list[GPTModel], optimizer: MegatronOptimizer, model: Path, *, copy: bool) -> dict[str, Any]:
    """This rank's shards in torch's form; collective (Megatron checks that the shards cover every tensor).

    Megatron writes its small common state, of which the sharded one is no part, to ``model`` at once.
    """
    metadata = content_metadata()
    staging = _Staging(copy=copy)
    dist_checkpointing.save(
        sharded_state(chunks, optimizer, metadata, loading=False),
        str(model),
        staging,
        async_sharded_save=True,
        content_metadata={key: value for key, value in metadata.items() if key != "dp_cp_group"},
    )
    return staging.state


def with_removal(place: Place, work: Callable[[], T]) -> T:
    """``work``; if it fails on all ranks, rank 0 removes what it has written, which may have filled the disk."""
    try:
        return work()
    except CheckpointError:
        if dist.get_rank() == 0:
            shutil.rmtree(place.temporary, ignore_errors=True)
        raise


def gather(group: dist.ProcessGroup, value: T) -> list[T]:
    """Every rank's ``value`` in rank order, on every rank."""
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def written_by(rank: int, temporary: Path) -> list[Path]:
    """The files of a checkpoint that a rank has written: another node may not see them yet, or not all of them."""
    model = [
        file
        for file in (temporary / "model").iterdir()
        if file.name.startswith(f"__{rank}_") or (rank == 0 and not file.name.startswith("__"))
    ]
    return sorted([*model, temporary / "rng" / f"{rank:05d}.pt"])


def recover(directory: Path) -> None:
    """Undoes what a killed save of this name has left; the checkpoint it was about to replace gets its name back."""
    old = directory.with_name(directory.name + REPLACED)
    if old.exists() and not directory.exists():
        old.rename(directory)
    for suffix in (WRITING, f".*{WRITING}", REPLACED, DELETED):
        for path in directory.parent.glob(directory.name + suffix):
            shutil.rmtree(path, ignore_errors=True)


def sweep(parent: Path) -> list[str]:
    """``recover`` for every name in ``parent``, where nothing is being written; the names of what was left there."""
    left = sorted(path.name for path in parent.glob("*") if path.name.endswith((WRITING, REPLACED, DELETED)))
    for name in left:
        recover(parent / name.rpartition(".tmp-")[0])
    return left


def delete(directory: Path) -> None:
    """Takes the name first: a checkpoint that is half deleted when the program is killed must not look like one."""
    gone = directory.with_name(directory.name + DELETED)
    shutil.rmtree(gone, ignore_errors=True)
    directory.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def serialized_random_state() -> bytes:
    """Every random state of this rank, as a checkpoint has it."""
    buffer = io.BytesIO()
    torch.save(random_state(), buffer)
    return buffer.getvalue()


def _flush(path: Path) -> None:
    """fsync of a file or directory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
