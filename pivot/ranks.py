"""The world of processes, as the programs above the policy see it."""

import os
from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def rank() -> int:
    """This process among all, 0 when there is no process group."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes there are, 1 when there is no process group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def size_on_node() -> int:
    """How many processes run on this node (torchrun's or Slurm's count), 1 when started alone."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_NTASKS_PER_NODE") or 1)


def gather(part: Sequence[T]) -> list[T]:
    """Every rank's part, concatenated in rank order, on every rank."""
    if size() == 1:
        return list(part)
    parts: list[Sequence[T] | None] = [None] * size()
    dist.all_gather_object(parts, part)
    return [item for each in parts for item in each or ()]


def barrier() -> None:
    """Wait for every rank."""
    if dist.is_initialized():
        dist.barrier()


def from_first(value: T) -> T:
    """Rank 0's value, on every rank."""
    if size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def lost_another(error: BaseException) -> bool:
    """Whether a rank failed only because another one is gone: gloo's, NCCL's and the store's ways to say so."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, dist.DistError) or any(word in str(seen) for word in LOST):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
