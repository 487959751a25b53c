"""What probes say of a model and its data, with the real libraries."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pivot.layout import Layout
from pivot.ops.doctor.inside import policy, tokenizer
from pivot.ops.doctor.smoke import CHECKPOINT
from pivot.precision import Precision
from pivot.trajectory.convert import convert
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories


def asked(model: Path, data: Path | None = None, **changes: Any) -> dict[str, Any]:
    said = {"model": str(model), "data": str(data) if data else None, "rows": 8, "thinking": "keep",
            "over_long": "skip", "max_model_len": 768, "max_tokens": 64, "layout": asdict(Layout()),
            "precision": asdict(Precision())}  # fmt: skip
    return said | changes


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "model"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_trajectories(expert_trajectories(4, 0, "train"), tmp_path / "t.jsonl")
    convert([tmp_path / "t.jsonl"], tmp_path)
    return tmp_path / "candidates.jsonl"


def test_prompts_of_the_tiny_model(data: Path) -> None:
    said = tokenizer(asked(CHECKPOINT, data))
    longest = said.pop("longest")
    assert said == {"vocabulary": 1024, "rows": 8, "lost": {}}
    assert 100 < longest < 768
    assert tokenizer(asked(CHECKPOINT)) == {"vocabulary": 1024}
    short = tokenizer(asked(CHECKPOINT, data, max_model_len=longest))
    assert short["lost"] == {"over_long_history": 1}
    assert short["longest"] < longest


def test_tokenizers_that_are_broken(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    assert tokenizer(asked(model)) == {
        "mistake": f"{model}: the tokenizer has no chat template; put chat_template.jinja there"
    }
    (model / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert tokenizer(asked(model))["mistake"].startswith(f"{model}: no tokenizer (Expecting value")
    (model / "tokenizer.json").unlink()
    assert tokenizer(asked(model))["mistake"].startswith(f"{model}: no tokenizer (Couldn't instantiate")
    assert tokenizer(asked(model / "none")) == {}


def test_rows_that_are_broken(data: Path) -> None:
    data.write_text('{"responses_create_params": 1}\n')
    assert tokenizer(asked(CHECKPOINT, data)) == {
        "vocabulary": 1024,
        "data_mistake": f"{data}:1: no_responses_create_params: `responses_create_params` is missing or no object; "
        "make the file with `pivot convert`",
    }


def test_the_policys_rules(model: Path) -> None:
    assert policy(asked(model)) == {"fits": "4 layers, 4 heads, 8 experts"}
    assert policy(asked(model, layout=asdict(Layout(pipeline=3)))) == {
        "mistake": "4 layers do not divide by parallel.pipeline = 3: choose a divisor of 4"
    }
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace('"qwen3_moe"', '"nemotron_h"'))
    assert policy(asked(model)) == {"family": "nemotron_h: only with Megatron-Bridge, on CUDA (docs/gpu.md)"}
    (model / "config.json").write_text(config.replace('"attention_bias": false', '"attention_bias": true'))
    assert policy(asked(model)) == {"mistake": "config.json: attention_bias = True is not supported, only False"}
    (model / "config.json").unlink()
    assert policy(asked(model)) == {}
