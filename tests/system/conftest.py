"""A small demo, made once for all system tests."""

from pathlib import Path

import pytest

from tests.system.running import SMALL, pivot


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo that nothing interrupted."""
    out = tmp_path_factory.mktemp("demo") / "run"
    done = pivot("demo", "--out", out, *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    return out
