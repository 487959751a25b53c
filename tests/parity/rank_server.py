"""Imports what ranks need, once, and forks a process for every rank of a job: ``-m tests.parity.rank_server KIND``.

A job is a line of JSON on standard input; its answer, a line on standard output, is the first rank that failed, or
null. With arguments FILE FUNCTION FOLDER this module is one rank alone, for tests that kill it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

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
    ranks = {fork(job, rank): rank for rank in range(job["ranks"])}
    first = deadline = None
    while ranks:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in ranks:
            rank = ranks.pop(pid)
            if status and first is None:
                first, deadline = rank, time.monotonic() + GRACE
        elif deadline is not None and time.monotonic() > deadline:
            for other in ranks:
                os.kill(other, signal.SIGKILL)
            deadline = None
        elif not pid:
            time.sleep(0.01)
    return first


def fork(job: dict[str, Any], rank: int) -> int:
    """The process of one rank."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    world = str(job["ranks"])
    places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    # the server's settings for torch and vLLM stay: they have been read
    os.environ.update({**job["environment"], **os.environ, **places})
    os.environ.update({name: job["environment"][name] for name in ("MASTER_ADDR", "MASTER_PORT")})
    os.chdir(job["folder"])
    log = os.open(f"rank{rank}.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status = 1
    try:
        work(job["file"], job["function"], Path(job["folder"]))
        status = 0
    except BaseException:  # noqa: BLE001  # nothing of a rank may run on as a second server
        traceback.print_exc()
    leave(status)


def leave(status: int) -> NoReturn:
    """Ends a forked process without the server's exit handlers."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


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
