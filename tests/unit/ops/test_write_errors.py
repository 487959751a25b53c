"""What is said of a save that failed, on a file system that is really full."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pivot.write_errors import reason, refusal, system_error

TORCH_SAYS = RuntimeError("basic_ios::clear: iostream error")


def test_the_systems_error_is_found_behind_others(tmp_path: Path) -> None:
    outer = RuntimeError("unexpected pos 64 vs 0")
    outer.__context__ = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert system_error(outer, tmp_path) is outer.__context__
    assert system_error(TORCH_SAYS, tmp_path) is TORCH_SAYS  # nothing is wrong with this directory
    assert list(tmp_path.iterdir()) == []


def test_a_reason_is_one_line() -> None:
    assert reason(OSError(errno.ENOSPC, "No space left on device")) == "[Errno 28] No space left on device"
    assert reason(RuntimeError("first\nsecond")) == "first"
    assert reason(KeyError()) == "KeyError"


def test_a_limit_of_the_size_of_files(tmp_path: Path) -> None:
    """In a process of its own, for the limit stays with it."""
    program = (
        "import resource, signal, sys; from pathlib import Path; from pivot.write_errors import refusal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (4096, {resource.RLIM_INFINITY}))\n"
        "print(refusal(Path(sys.argv[1])))"
    )
    said = subprocess.check_output([sys.executable, "-c", program, str(tmp_path)], text=True)
    assert said == "[Errno 27] File too large\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_full_disk(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "small", str(tmp_path)], check=True)
    try:
        assert refusal(tmp_path) is None
        (tmp_path / "filler").write_bytes(bytes(3 << 19))
        found = system_error(TORCH_SAYS, tmp_path)
        assert reason(found) == "[Errno 28] No space left on device"
        assert [path.name for path in tmp_path.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
