"""Libraries in processes of their own: real ones that are missing, crash or hang."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer

import pytest

from pivot.ops.doctor.facts import Import
from pivot.ops.doctor.imports import FASTER, check, fix, probe, reason, run
from pivot.ops.doctor.row import Row
from tests.unit.ops.doctor.blocked import python_path_without

ASKED = {"model": "none", "tool_parser": "hermes", "data": None}


def test_a_library_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", python_path_without(tmp_path, "torch"))
    found = probe("torch", ASKED)
    assert found.problem == "ModuleNotFoundError: No module named 'torch'"
    assert found.said is None
    assert check(found) == Row.red(
        "import.torch", "torch: ModuleNotFoundError: No module named 'torch'",
        "make install brings torch; under Slurm or in a container, check which Python runs (which pivot)",
    )  # fmt: skip


def test_torch_here() -> None:
    found = probe("torch", ASKED)
    assert found.problem is None
    assert set(found.said or {}) == {"cuda", "names", "capabilities", "compiled", "nccl"}
    assert check(replace(found, seconds=3.21)) == Row.green("import.torch", "torch (3.2 s)")
    assert check(replace(found, seconds=61.0)) == Row.yellow(
        "import.torch", "torch: 61 s, and every rank waits so long", FASTER
    )


def test_a_process_that_hangs_goes_with_its_children() -> None:
    child = "import subprocess, time; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); time.sleep(60)"
    start = time.monotonic()
    status, out, _ = run([sys.executable, "-c", child], 1.0)
    assert status is None
    assert time.monotonic() - start < 20
    stat = Path(f"/proc/{out.strip()}/stat")
    time.sleep(0.2)
    assert not stat.exists() or stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    assert check(Import("engine", 180.0, "no end after 180 s")).fix == FASTER


def test_another_thread_can_end_it() -> None:
    stop, start = Event(), time.monotonic()
    Timer(0.3, stop.set).start()
    assert run([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], 50.0, stop=stop)[0] is None
    assert time.monotonic() - start < 20


def test_a_process_that_crashes() -> None:
    status, _, err = run([sys.executable, "-c", "import os; os.abort()"], 20.0)
    assert status is not None
    assert reason(status, err) == "killed by SIGABRT"
    assert reason(1, "Traceback\n  line\nImportError: libcuda.so.1\n\n") == "ImportError: libcuda.so.1"
    ranks = (
        "[rank1]: torch.OutOfMemoryError: CUDA\n  hint\npivot: a rank ended with status 1; what ranks printed is above"
    )
    assert reason(1, ranks) == "[rank1]: torch.OutOfMemoryError: CUDA"
    assert reason(2, "pivot: model.path=x: no such directory\n") == "model.path=x: no such directory"
    assert reason(3, "") == "status 3"
    assert fix("killed by SIGKILL").startswith("memory ran out")
    assert fix("ImportError: libcuda.so.1").startswith("make install makes .venv anew")
