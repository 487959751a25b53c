"""The other ranks of this node, which have the same parent: who of them is gone without a word."""

import os
from collections.abc import Mapping
from pathlib import Path

from pivot.attempt.lock import born


def missing_ranks(environment: Mapping[str, str] = os.environ) -> list[int]:
    """Ranks of this node whose process is gone; none where that cannot be told.

    Args:
        environment: Of this process: torchrun's RANK, LOCAL_RANK and LOCAL_WORLD_SIZE.
    """
    if not {"RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"} <= environment.keys():
        return []
    first = int(environment["RANK"]) - int(environment["LOCAL_RANK"])
    expected = range(first, first + int(environment["LOCAL_WORLD_SIZE"]))
    parent = os.getppid()
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except OSError:
        return []
    alive = {rank_of(int(pid)) for pid in children if born(int(pid))}
    if int(environment["RANK"]) not in alive:  # our parent is not who started the ranks
        return []
    return [rank for rank in expected if rank not in alive]


def rank_of(pid: int) -> int | None:
    """The RANK that a process was started with."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [entry[len(b"RANK=") :] for entry in entries if entry.startswith(b"RANK=")]
    return int(found[0]) if found and found[0].isdigit() else None
