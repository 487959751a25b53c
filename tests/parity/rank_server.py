"""Imports what ranks need, once, and forks a process for every rank of a job: ``-m tests.parity.rank_server KIND``.

A job is a line of JSON on standard input; its answer, a line on standard output, is the first rank that failed, or
null. With arguments FILE FUNCTION FOLDER this module is one rank alone, for tests that kill it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

FORK = get_context("fork")
GRACE = 2.0  # seconds in which the other ranks may say what they think of a rank's failure


def imports(kind: str) -> None:
    """What ranks of this kind have in common."""
    if kind == "engine":
        from pivot.rollout import prepare_environment

        prepare_environment()
        import vllm

        assert vllm.LLM is not None  # vLLM imports its parts when they are asked for
    else:
        import transformers

        import pivot.policy

        assert pivot.policy.Policy is not None
        assert transformers.AutoModelForCausalLM is not None


def serve(kind: str) -> None:
    """Answers jobs until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    imports(kind)
    for line in sys.stdin:
        answers.write(json.dumps(run(json.loads(line))) + "\n")
        answers.flush()


def run(job: dict[str, Any]) -> int | None:
    """All ranks of a job: the first that failed, or None."""
    ranks = [FORK.Process(target=one, args=(job, rank)) for rank in range(job["ranks"])]
    for process in ranks:
        process.start()
    first = None
    running = {process.sentinel: rank for rank, process in enumerate(ranks)}
    while running:
        ended = wait(list(running), GRACE if first is not None else None)
        if not ended:
            for rank in running.values():
                ranks[rank].kill()
        for sentinel in ended:
            rank = running.pop(sentinel)  # type: ignore[call-overload]
            ranks[rank].join()
            if ranks[rank].exitcode and first is None:
                first = rank
    return first


def one(job: dict[str, Any], rank: int) -> None:
    """One rank of a job, in a process of its own."""
    world = str(job["ranks"])
    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    # the server's settings for torch and vLLM stay: they have been read
    os.environ.update({**job["environment"], **os.environ, **places})
    os.environ.update({name: job["environment"][name] for name in ("MASTER_ADDR", "MASTER_PORT")})
    os.chdir(job["folder"])
    log = os.open(f"rank{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    work(job["file"], job["function"], Path(job["folder"]))


def work(file: str, function: str, folder: Path) -> None:
    """One rank: its result goes to ``folder``."""
    import torch

    spec = importlib.util.spec_from_file_location("work", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    arguments = torch.load(folder / "arguments.pt", weights_only=False)
    result = getattr(module, function)(**arguments)
    torch.save(result, folder / f"rank{os.environ['RANK']}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        work(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
