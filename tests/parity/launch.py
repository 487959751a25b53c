"""Runs a function of a file on several ranks and hands back what each rank returned.

Ranks are forked from a server that has imported the heavy libraries once (`rank_server.py`): a test of a second
isn't preceded by ten seconds of imports on every rank. What a rank does to its process ends with it.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


class Server:
    """A process that forks ranks, and what it has imported: "policy" (Megatron) or "engine" (vLLM)."""

    def __init__(self, kind: str) -> None:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.parity.rank_server", kind],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that it can be killed with all its ranks
        )
        atexit.register(self.stop)

    def run(self, job: dict[str, Any], timeout: float) -> int | None:
        """The first rank that failed, None when none did.

        Raises:
            TimeoutError: it took too long; the server and its ranks are gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                self.stop()
                raise TimeoutError(f"{job['function']} on {job['ranks']} ranks took more than {timeout:.0f} s")
        failed: int | None = json.loads(self._process.stdout.readline())
        return failed

    def stop(self) -> None:
        """Kills it with its ranks; a later launch starts another."""
        server.cache_clear()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@cache
def server(kind: str) -> Server:
    """One a kind, for as long as pytest runs."""
    return Server(kind)


def free_port() -> int:
    """Below those that the system hands out, of which one may be gone by the time a rank listens on it."""
    for port in random.SystemRandom().sample(range(15_000, 32_000), 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no port is free")


def launch(
    file: Path, function: str, ranks: int, *, timeout: float = 240.0, kind: str = "policy", **arguments: Any
) -> list[Any]:
    """Calls ``function(**arguments)`` of ``file`` on ``ranks`` ranks over gloo on 127.0.0.1.

    Args:
        file: it is imported on every rank, which finds the environment that torchrun would give it.
        function: of that file.
        ranks: how many.
        timeout: seconds.
        kind: "engine" for ranks that build vLLM engines: it must be imported before anything else.
        arguments: by keyword.

    Returns:
        What each rank returned, in rank order.

    Raises:
        AssertionError: a rank failed; the message holds the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        torch.save(arguments, Path(folder) / "arguments.pt")
        job = {
            "file": str(file),
            "function": function,
            "folder": folder,
            "ranks": ranks,
            "environment": {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())},
        }
        failed = server(kind).run(job, timeout)
        if failed is not None:
            said = (Path(folder) / f"rank{failed}.log").read_text(errors="replace")
            raise AssertionError(f"{function} on {ranks} ranks: rank {failed} failed:\n{said[-6000:]}")
        return [torch.load(Path(folder) / f"rank{i}.pt", weights_only=False) for i in range(ranks)]
