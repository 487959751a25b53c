"""The parts of the rollout room that need no engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pivot.rollout import Sampling, cpu


@pytest.mark.parametrize(
    ("temperature", "top_p", "max_tokens", "text"),
    [
        (-0.1, 1.0, 1, "temperature"),
        (1.0, 0.0, 1, "top_p"),
        (1.0, 1.1, 1, "top_p"),
        (1.0, 1.0, 0, "max_tokens"),
    ],
)
def test_impossible_sampling(temperature: float, top_p: float, max_tokens: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Sampling(temperature, top_p, max_tokens)


def test_another_vllm_than_the_proven_one_is_refused() -> None:
    cpu.check_version("0.32.0+cpu")
    with pytest.raises(RuntimeError, match=r"proven on vLLM 0\.32\.0, this is 0\.33\.0"):
        cpu.check_version("0.33.0")


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh interpreter prints, without what other tests' engines left in the environment."""
    left = ("VLLM_", "TORCH", "DO_NOT_TRACK", "HF_HUB_OFFLINE")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(left)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        check=True,
    )
    return done.stdout.strip()


def test_a_directory_without_a_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys; from pivot.errors import UserError; from pivot.rollout import Engine\n"
        "try: Engine(sys.argv[1], max_model_len=64)\n"
        "except UserError as error: print(error)"
    )
    assert "config.json is missing" in run(code, str(tmp_path))


def test_an_engine_before_its_group_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    code = (
        "import sys; from pivot.rollout import Engine\n"
        "try: Engine(sys.argv[1], max_model_len=64)\n"
        "except RuntimeError as error: print(error)"
    )
    answer = run(code, str(tmp_path), WORLD_SIZE="2")
    assert answer == "WORLD_SIZE is 2: create the trainer's process group before the engine"


def test_importing_the_room_imports_neither_torch_nor_vllm() -> None:
    code = "import sys, pivot.rollout; print('torch' in sys.modules, 'vllm' in sys.modules)"
    assert run(code) == "False False"


def test_settings_of_the_user_win_where_they_may() -> None:
    code = (
        "import os; from pivot.rollout import prepare_environment as p\n"
        "p('/here', cpu=True); p('/there', cpu=True)\n"
        "names = 'VLLM_CACHE_ROOT VLLM_LOGGING_LEVEL VLLM_ENABLE_V1_MULTIPROCESSING TORCH_COMPILE_DISABLE'\n"
        "print(*(os.environ[name] for name in names.split()))"
    )
    assert run(code) == "/here ERROR 0 1"
    answer = run(code, VLLM_CACHE_ROOT="/mine", VLLM_LOGGING_LEVEL="INFO", VLLM_ENABLE_V1_MULTIPROCESSING="1")
    assert answer == "/mine INFO 0 1"


def test_vllm_imported_too_early_is_an_error() -> None:
    code = (
        "import sys, types; sys.modules['vllm'] = types.ModuleType('vllm')\n"
        "from pivot.rollout import prepare_environment\n"
        "try: prepare_environment(cpu=True)\n"
        "except RuntimeError as error: print(error)"
    )
    assert "vllm was imported before prepare_environment(), without DO_NOT_TRACK" in run(code)
