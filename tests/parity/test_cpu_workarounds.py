"""vLLM's CPU backend goes wrong without the work-arounds of pivot/rollout/cpu.py that other tests only run with.

Packed experts and tied heads after a reload: test_swap_engine.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity.launch import launch

WORK = Path(__file__).with_name("workaround_workers.py")


def test_a_rank_with_some_of_the_experts_reads_beyond_them() -> None:
    assert launch(WORK, "experts", 1, kind="engine")[0] == {"without": False, "with": True}


def test_what_a_killed_run_leaves_in_shared_memory_stops_the_next_one() -> None:
    ranks = launch(WORK, "shared_memory", 2, kind="engine")
    if None in ranks:
        pytest.skip("vLLM's build for a CPU without AVX-512 has no shared memory between ranks: they use gloo")
    for rank in ranks:
        assert len(rank["left"]) == 2
        assert "create shm in SHMManager failed. errno: 17" in rank["next run"]
        assert rank["sums"] == [[3.0], [3.0]]
        assert rank["left now"] == []
