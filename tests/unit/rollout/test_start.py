"""What is said of a checkpoint that vLLM does not take."""

from pathlib import Path

import pytest
from vllm.config import CompilationConfig, CompilationMode, CUDAGraphMode

from pivot.errors import UserError
from pivot.rollout.start import GRAPHS, broken_file, decoding


def test_graphs_are_of_decode_steps_and_nothing_is_compiled() -> None:
    config = CompilationConfig(**GRAPHS["compilation_config"])
    assert config.mode == CompilationMode.NONE
    assert config.cudagraph_mode.decode_mode() == CUDAGraphMode.FULL
    assert config.cudagraph_mode.mixed_mode() == CUDAGraphMode.NONE
    assert not config.cudagraph_mode.requires_piecewise_compilation()


def test_a_cpu_has_no_graphs() -> None:
    assert decoding(False) == {"enforce_eager": True}
    with pytest.raises(UserError, match=r"rollout\.cuda_graphs is true, and a CPU has no CUDA graphs"):
        decoding(True)


def test_the_broken_file_is_named(tmp_path: Path) -> None:
    assert broken_file(tmp_path) is None
    (tmp_path / "config.json").write_text("{}")
    assert broken_file(tmp_path) is None
    (tmp_path / "tokenizer.json").write_bytes(b'{\n "model": \xff')
    assert str(broken_file(tmp_path)).startswith(f"{tmp_path / 'tokenizer.json'}: not a JSON file ('utf-8' codec")
    (tmp_path / "tokenizer.json").write_text('{\n "model": ')
    found = f"{tmp_path / 'tokenizer.json'}: not a JSON file (Expecting value: line 2 column 11 (char 12))"
    assert broken_file(tmp_path) == f"{found}; copy it from the checkpoint again"
