"""What must hold whatever the layout: cutting, repeating, freezing, dtypes and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.parity.conftest import Reference
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("workers.py")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def result(moe: Reference, out: Path) -> dict[str, Any]:
    (moe.path / "tokenizer.json").write_text('{"a": 1}')
    (moe.path / "chat_template.jinja").write_text("{{ messages }}")
    found: dict[str, Any] = launch(WORKERS, "single_rank", 1, path=moe.path, samples=moe.samples, out=out)[0]
    return found


def worst(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert actual.keys() == expected.keys()
    gaps = [((actual[n] - expected[n]).abs().max() / expected[n].abs().max()).item() for n in expected]
    return max(gaps)


def test_cutting_into_micro_batches_changes_nothing(result: dict[str, Any]) -> None:
    assert worst(result["many"], result["one"]) < 5e-6
    assert worst(result["empty"], result["one"]) < 5e-6


def test_same_input_gives_the_same_bits(result: dict[str, Any]) -> None:
    assert all(torch.equal(result["one"][name], result["again"][name]) for name in result["one"])


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputation_changes_nothing(result: dict[str, Any], recompute: str) -> None:
    assert worst(result[recompute], result["one"]) < 5e-6


def test_router_is_frozen_by_default(result: dict[str, Any]) -> None:
    router = {name: gradient for name, gradient in result["frozen"].items() if name.endswith("mlp.gate.weight")}
    assert len(router) == 4
    assert all(not gradient.any() for gradient in router.values())
    assert all(result["one"][name].any() for name in router)


def test_saved_checkpoint_has_the_same_bits(result: dict[str, Any], moe: Reference, out: Path) -> None:
    ours, theirs = load_file(out / "same" / "model.safetensors"), load_file(moe.path / "model.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert (out / "same" / "tokenizer.json").read_text() == '{"a": 1}'
    assert (out / "same" / "chat_template.jinja").read_text() == "{{ messages }}"


def test_transformers_loads_the_trained_policy(result: dict[str, Any], moe: Reference, out: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(out / "stepped", dtype=torch.float32)
    scores = []
    with torch.no_grad():
        for batch in moe.samples:
            for tokens, prompt in batch:
                log = torch.log_softmax(model(tokens[None]).logits[0, prompt - 1 : -1], -1)
                scores.append(log.gather(-1, tokens[prompt:, None])[:, 0])
    assert (torch.cat(scores) - result["stepped_scores"]).abs().max() < 1e-4
    assert (result["stepped_scores"] - moe.logprobs[1.0]).abs().max() > 1e-3  # the step did something


def test_bf16(result: dict[str, Any], moe: Reference, out: Path) -> None:
    assert {tensor.dtype for tensor in result["bf16"].values()} == {torch.bfloat16}
    assert json.loads((out / "bf16" / "config.json").read_text())["dtype"] == "bfloat16"
    assert 0 < result["bf16_norm"] < 1e3
    for name, tensor in result["from_bf16"].items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, result["bf16"][name].float())
    # a step of 1e-3 moves a weight; what was not stepped is the cast of the checkpoint
    files = load_file(moe.path / "model.safetensors")
    gate = "model.layers.0.mlp.gate.weight"
    assert torch.equal(result["bf16"][gate], files[gate].bfloat16())


def test_uneven_micro_batches_are_refused(moe: Reference) -> None:
    for message in launch(WORKERS, "refuse_uneven", 2, path=moe.path, samples=moe.samples):
        assert message.startswith("micro-batches on the data-parallel ranks: [1, 2]")
