"""Property tests are the same on every run, and a busy machine does not fail them."""

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pivot", deadline=None, derandomize=True, database=None)
settings.load_profile("pivot")


@pytest.fixture
def te_sources() -> Path:
    """Transformer Engine's Python sources, which are read and never imported; skipped where there are none."""
    if "PIVOT_TE_SOURCES" in os.environ:
        return Path(os.environ["PIVOT_TE_SOURCES"])
    spec = importlib.util.find_spec("transformer_engine")
    if spec is None or spec.origin is None:
        pytest.skip("no sources of Transformer Engine: install it or set PIVOT_TE_SOURCES")
    return Path(spec.origin).parent.parent
