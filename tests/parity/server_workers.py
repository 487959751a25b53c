"""What runs in the process of the server test: a client of a real server, then an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pivot.rollout import Engine, cpu, prepare_environment

prepare_environment()

from pivot.rollout.serve import serve  # noqa: E402
from pivot.rollout.server import Server  # noqa: E402
from tests.parity.placement_workers import N, asked  # noqa: E402
from tests.parity.swap_workers import CONTEXT, HOT, message  # noqa: E402


def both(path: Path, log: Path) -> dict[str, Any]:
    """The same prompts and seeds to a server and to an engine."""
    turns, seeds = asked()
    settings = {"dtype": "float32", "max_model_len": CONTEXT, "max_num_seqs": 64, "kv_cache_memory_bytes": 64 << 20}
    with serve(path, log, **settings, **cpu.engine_arguments(CONTEXT)) as url:
        result: dict[str, Any] = {"served": Server(url, path, max_model_len=CONTEXT).sample(turns, seeds, N, HOT)}
        result["too short"] = message(lambda: Server(url, path, max_model_len=4096))
    with Engine(path, max_model_len=CONTEXT) as engine:
        return result | {"drawn": engine.sample(turns, seeds, N, HOT)}
