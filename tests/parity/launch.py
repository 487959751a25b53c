"""Runs a function of a file on several ranks, as torchrun does, and hands back what each rank returned.

Used as a module by the tests (``launch``) and as a program by every rank.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]


def launch(file: Path, function: str, ranks: int, *, timeout: float = 240.0, **arguments: Any) -> list[Any]:
    """Calls ``function(**arguments)`` of ``file`` on ``ranks`` ranks over gloo on 127.0.0.1.

    Returns:
        What each rank returned, in rank order.

    Raises:
        AssertionError: a rank failed; the message holds the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        torch.save(arguments, Path(folder) / "arguments.pt")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}"]
        command += ["--master-addr=127.0.0.1", f"--master-port={port}", __file__, str(file), function, folder]
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(
            command,
            env=environment,
            cwd=folder,
            timeout=timeout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{function} on {ranks} ranks failed:\n{done.stdout[-6000:]}"
        return [torch.load(Path(folder) / f"rank{i}.pt", weights_only=False) for i in range(ranks)]


def main() -> None:
    """One rank: ``launch.py FILE FUNCTION FOLDER``."""
    file, function, folder = sys.argv[1:]
    spec = importlib.util.spec_from_file_location("work", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.set_num_threads(1)
    arguments = torch.load(Path(folder) / "arguments.pt", weights_only=False)
    result = getattr(module, function)(**arguments)
    torch.save(result, Path(folder) / f"rank{os.environ['RANK']}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
