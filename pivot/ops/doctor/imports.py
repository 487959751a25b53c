"""Run a probe of `inside.py` in a process of its own: a library that is missing, crashes or hangs is a row, no end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Event
from typing import Any

from pivot.ops.doctor.facts import Import
from pivot.ops.doctor.row import Row

SECONDS = 180.0  # on a cold file system shared by many nodes
_ERROR = re.compile(r"(\[rank\d+\]: )?[\w.]*(Error|Exception|Exit)\b")
SLOW = 60.0  # seconds; 3 to 15 on a local disk
FASTER = "put the environment on a faster disk (a local copy or a container image), then try again"
LIBRARIES = {
    "torch": "torch",
    "policy": "megatron.core, as the policy prepares it",
    "tokenizer": "transformers, tokenizers",
    "engine": "vllm",
    "loop": "lightning, nemo.utils.exp_manager",
    "transformer-engine": "transformer_engine",
}


def probe(name: str, asked: Mapping[str, Any], seconds: float = SECONDS, stop: Event | None = None) -> Import:
    """One probe, run to its end or its time, or until `stop` is set."""
    command = [sys.executable, "-m", "pivot.ops.doctor.inside", name, json.dumps(asked)]
    start = time.perf_counter()
    status, out, err = run(command, seconds, stop=stop)
    spent = time.perf_counter() - start
    if status is None:
        return Import(name, spent, f"no end after {seconds:.0f} s")
    if status != 0:
        return Import(name, spent, reason(status, err))
    return Import(name, spent, None, json.loads(out.strip().splitlines()[-1]))


def run(
    command: Sequence[str], seconds: float, variables: Mapping[str, str] | None = None, stop: Event | None = None
) -> tuple[int | None, str, str]:
    """Status, stdout and stderr of a command; status None: it took too long, and it and its children are gone.

    Args:
        command: program and arguments.
        seconds: it may take.
        variables: its environment; None: ours.
        stop: when another thread sets it, time is over.
    """
    until = time.monotonic() + seconds
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"} if variables is None else variables
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=environment,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            while time.monotonic() < until and not (stop and stop.is_set()):
                with suppress(subprocess.TimeoutExpired):
                    out, err = process.communicate(timeout=min(0.5, seconds))
                    return process.returncode, out, err
        finally:
            if process.poll() is None:  # too long, or Ctrl-C, which a process with a session of its own does not get
                kill(process)
        return None, *process.communicate()


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process with all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def reason(status: int, err: str) -> str:
    """Why it failed: the last line that names an error, or the last one at all, or the signal that ended it."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or [f"status {status}"])[-1].removeprefix("pivot: ")[:300]


def check(found: Import) -> Row:
    """The row of an import."""
    name = f"import.{found.name}"
    libraries = LIBRARIES[found.name]
    if found.problem is not None:
        return Row.red(name, f"{libraries}: {found.problem}", fix(found.problem))
    if found.seconds > SLOW:
        return Row.yellow(name, f"{libraries}: {found.seconds:.0f} s, and every rank waits so long", FASTER)
    return Row.green(name, f"{libraries} ({found.seconds:.1f} s)")


def fix(problem: str) -> str:
    """What helps against a failed import."""
    if "No module named" in problem:
        missing = problem.rpartition("No module named")[2].strip(" '\"").split(".")[0]
        return f"make install brings {missing}; under Slurm or in a container, check which Python runs (which pivot)"
    if "no end after" in problem:
        return FASTER
    if "SIGKILL" in problem:
        return "memory ran out: ask for more (Slurm: --mem=0), or end what else runs here"
    return "make install makes .venv anew; known-bad rows may say more"
