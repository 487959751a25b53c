"""A real vLLM server, started and stopped here, draws what the colocated engine draws."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pivot.rollout.serve import PACKAGES
from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_checkpoint

WORK = Path(__file__).with_name("server_workers.py")


@pytest.mark.slow
def test_a_server_draws_what_the_engine_draws(tmp_path: Path) -> None:
    for module in PACKAGES:
        pytest.importorskip(module, reason="a package of vLLM's server")
    make_checkpoint(tmp_path / "model")
    found = launch(WORK, "both", 1, timeout=900, path=tmp_path / "model", log=tmp_path / "server.log")[0]
    for served, drawn in zip(found["served"], found["drawn"], strict=True):
        assert [c.token_ids for c in served] == [c.token_ids for c in drawn]
        assert [c.text for c in served] == [c.text for c in drawn]
        assert [c.finish_reason for c in served] == [c.finish_reason for c in drawn]
        for one, other in zip(served, drawn, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert "--max-model-len 4096" in found["too short"]
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path / "model") not in listed
