"""What runs in the processes of the placement tests: engines of one rank and of several, in one world."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from pivot.rollout import Placement, prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from pivot.rollout import Completion, Engine  # noqa: E402
from pivot.shares import Shares, once, sampling_costs  # noqa: E402
from pivot.swap import Manifest, probe, push  # noqa: E402
from tests.parity.swap_workers import CONTEXT, HOT, HfPolicy, gap, message, process_state, prompts  # noqa: E402

N = 4
LENGTHS = (150, 20, 90, 30, 60)  # a prompt of each: shares of equal cost are not of equal size


def asked() -> tuple[list[list[int]], list[int]]:
    """Prompts and seeds, the same on every rank."""
    return [prompts(1, length)[0] for length in LENGTHS], [100 * i for i in range(len(LENGTHS))]


def shared_memory() -> list[str]:
    """Files that a tensor parallel engine might leave behind."""
    return sorted(path.name for path in Path("/dev/shm").glob("*cpushm*"))


def total(group: Any = None) -> float:
    """A collective of the trainer's."""
    value = torch.tensor(float(dist.get_rank() + 1))
    dist.all_reduce(value, group=group)
    return value.item()


def placements(path: Path, cuts: list[tuple[int, bool]]) -> dict[str, Any]:
    """Engines of each (ranks a replica, expert parallel), one after the other, in one world."""
    dist.init_process_group("gloo")
    pair = dist.new_group(list(range(dist.get_world_size())))
    before = shared_memory()
    found = {cut: placed(path, *cut) for cut in cuts}
    return {"cuts": found, "groups": (total(), total(pair)), "left": sorted(set(shared_memory()) - set(before))}


def placed(path: Path, tensor: int, expert_parallel: bool) -> dict[str, Any]:
    """One placement: what it draws before and after a push, what it leaves behind, and what it refuses."""
    rank, world = dist.get_rank(), dist.get_world_size()
    policy = HfPolicy(path)
    random.seed(rank), np.random.seed(rank), torch.manual_seed(rank)  # ranks differ, as a trainer's do
    before = process_state()
    placement = Placement.of(rank, world, tensor=tensor, expert_parallel=expert_parallel)
    turns, seeds = asked()
    shares = Shares.balanced(sampling_costs([len(p) for p in turns], N, HOT.max_tokens), placement)
    with Engine(path, placement=placement, max_model_len=CONTEXT) as engine:
        after_start = process_state()

        def sample() -> list[list[Completion]]:
            return shares.gather(engine.sample(shares.own(turns), shares.own(seeds), N, HOT))

        first = sample()
        result = {
            "first": first,
            "alone": engine.sample(turns[:1], [seeds[0] + 2], 1, HOT)[0][0],
            "gap": max(gap(policy, p, group, 0.8) for p, group in zip(turns, first, strict=True)),
            "share": shares.own(list(range(len(turns)))),
            "after": process_state(),
            "after start": after_start,
            "before": before,
            "prefill": once([engine.prefill_tokens], placement),
            "agreed": engine.replica.from_first(f"said by {rank}"),
        }
        policy.move(1)
        push(policy, engine, Manifest.from_checkpoint(path), "moved")
        result["probe"] = probe(policy, engine, turns).max_gap
        result["moved"] = sample()
        result["apart"] = message(lambda: engine.sample(turns, [s + placement.tensor_rank for s in seeds], 1, HOT))
        result["apart again"] = message(lambda: engine.score([turns[placement.tensor_rank]]))
        result["together"] = message(lambda: engine.score(turns))
    return result
