"""Parameters are counted exactly: against files, against the policy's own table, against public totals."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from benchmarks.swap_layouts import DENSE, QWEN3_30B, TINY, holding, shape
from pivot.config import CONF_DIR
from pivot.errors import UserError
from pivot.layout import Layout
from pivot.ops.plan.model import MODELS, find, model
from pivot.policy.hf import hf_shapes

TINY_MOE = Path("pivot/world/tiny-moe")
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen3_moe": TINY,
    "qwen3": DENSE,
    "llama": DENSE | {"model_type": "llama"},
    "llama tied": DENSE | {"model_type": "llama", "tie_word_embeddings": True},
    "qwen2": DENSE | {"model_type": "qwen2"},
    "mixtral": TINY | {"model_type": "mixtral", "intermediate_size": 32, "num_local_experts": 8},
    "qwen2_moe": TINY | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 48},
}


def test_the_tiny_moe_is_counted_as_its_file_holds_it() -> None:
    file = CONF_DIR.parent / TINY_MOE / "model.safetensors"
    with safe_open(file, "pt") as stored:
        real = sum(math.prod(stored.get_slice(name).get_shape()) for name in stored.keys())  # noqa: SIM118
    assert find(str(file.parent)).total == real == 2_037_120


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_counted_as_the_policy_names_its_tensors(family: str) -> None:
    config = FAMILIES[family]
    assert model(family, config).total == sum(map(math.prod, hf_shapes(shape(config)).values()))


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [
        ("Qwen3-30B-A3B", 30_532_122_624, 3_353_032_704),
        ("Qwen3-30B-A3B-Thinking-2507", 30_532_122_624, 3_353_032_704),
        ("Qwen3-235B-A22B", 235_093_634_560, 22_190_763_520),
        ("Qwen3-32B", 32_762_123_264, 32_762_123_264),
        ("Llama-3.1-8B-Instruct", 8_030_261_248, 8_030_261_248),
        ("SmolLM2-135M-Instruct", 134_515_008, 134_515_008),
        ("NVIDIA-Nemotron-3-Super-120B-A12B-BF16", 120_668_707_840, 12_770_237_440),
    ],
)
def test_public_totals(name: str, total: int, active: int) -> None:
    found = find(f"anywhere/{name}")
    assert (found.total, found.active) == (total, active)


def test_every_model_at_hand_can_be_counted() -> None:
    for file in MODELS.glob("*.json"):
        assert find(file.stem).total > 1e8
        assert set(json.loads(file.read_text())) >= {"model_type", "hidden_size", "vocab_size"}


@pytest.mark.parametrize(
    "layout",
    [Layout(), Layout(expert=8), Layout(tensor=2, expert=4), Layout(tensor=4, expert=2, expert_tensor=4),
     Layout(tensor=2, pipeline=4, expert=4)],
)  # fmt: skip
def test_a_rank_holds_what_the_policy_cuts_for_it(layout: Layout) -> None:
    from pivot.ops.plan.policy import held
    from tests.unit.ops.plan.jobs import qwen

    world, job = 32, qwen(32, layout)
    for stage in (0, layout.pipeline - 1):
        rank = stage * (world // layout.pipeline)
        parts = holding(shape(QWEN3_30B), layout, world, rank).values()
        real = sum(region.numel for regions, _ in parts for region in regions)
        assert held(job, stage).total == real


def test_an_unknown_model_or_family_is_one_line() -> None:
    with pytest.raises(UserError, match="conf/models does not know it"):
        find("models/Nobody-1B")
    with pytest.raises(UserError, match="model_type 'gpt2' cannot be planned"):
        model("x", {"model_type": "gpt2"})
    with pytest.raises(UserError, match="'mamba_num_heads' is missing"):
        model("x", {"model_type": "nemotron_h", "hidden_size": 8, "hybrid_override_pattern": "M", "vocab_size": 8})


def test_planning_imports_no_torch() -> None:
    code = "import sys; from pivot.ops.plan import command, report; print([m for m in sys.modules if m in " \
        "('torch', 'vllm', 'megatron', 'lightning')])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
