"""Megatron against Hugging Face, and every layout against one rank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.layout import Layout
from tests.parity.conftest import Reference
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("workers.py")
LOGPROB = 1e-4  # largest absolute error
RELATIVE = 1e-4  # largest gradient error over the largest gradient of the tensor

MOE: dict[int, list[Layout]] = {
    1: [Layout()],
    2: [
        Layout(),  # two data-parallel ranks
        Layout(tensor=2),
        Layout(pipeline=2),
        Layout(expert=2),
        Layout(tensor=2, expert=2),
        Layout(tensor=2, expert_tensor=2),
        Layout(pipeline=2, virtual_pipeline=2),
    ],
    4: [
        Layout(tensor=2, pipeline=2, expert=2),
        Layout(tensor=2, expert=2, expert_tensor=2),
        Layout(tensor=2, expert=2),
    ],
}
CASES = [(ranks, i) for ranks, layouts in MOE.items() for i in range(len(layouts))]
NAMES = [
    f"{ranks}ranks-tp{x.tensor}-pp{x.pipeline}-ep{x.expert}-etp{x.expert_tensor}-vpp{x.virtual_pipeline or 1}"
    for ranks, layouts in MOE.items()
    for x in layouts
]


@pytest.fixture(scope="module")
def results(moe: Reference) -> dict[int, list[list[dict[str, Any]]]]:
    """World size -> what each rank returned: a list over the layouts."""
    return {
        ranks: launch(
            WORKERS,
            "compare_layouts",
            ranks,
            path=moe.path,
            samples=moe.samples,
            layouts=layouts,
            options={"freeze_router": False},
        )
        for ranks, layouts in MOE.items()
    }


def relative(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    assert actual.keys() == expected.keys()
    return {
        name: ((actual[name] - expected[name]).abs().max() / expected[name].abs().max().clamp_min(1e-12)).item()
        for name in actual
    }


def check_scores(result: dict[str, Any], reference: Reference) -> None:
    for temperature, (logprobs, entropy) in result["scores"].items():
        assert logprobs.shape == reference.logprobs[temperature].shape
        assert (logprobs - reference.logprobs[temperature]).abs().max() < LOGPROB
        assert (entropy - reference.entropy[temperature]).abs().max() < LOGPROB


@pytest.mark.parametrize(("ranks", "index"), CASES, ids=NAMES)
def test_logprobs_equal_hugging_face(results: Any, moe: Reference, ranks: int, index: int) -> None:
    for rank in results[ranks]:
        check_scores(rank[index], moe)


@pytest.mark.parametrize(("ranks", "index"), CASES, ids=NAMES)
def test_gradients_equal_one_rank(results: Any, ranks: int, index: int) -> None:
    one = results[1][0][0]
    for rank in results[ranks]:
        worst = relative(rank[index]["gradients"], one["gradients"])
        assert max(worst.values()) < RELATIVE, max(worst, key=worst.__getitem__)
        assert rank[index]["norm"] == pytest.approx(one["norm"], rel=1e-5)


@pytest.mark.parametrize(("ranks", "index"), CASES, ids=NAMES)
def test_replicas_are_identical_after_a_step(results: Any, ranks: int, index: int) -> None:
    one = results[1][0][0]
    for rank in results[ranks]:
        assert rank[index]["mismatches"] == []
        # Adam turns the sign of a gradient of zero into a whole step: compare where there is a gradient
        for name, weight in rank[index]["stepped"].items():
            clear = one["gradients"][name].abs() > 1e-5
            assert (weight - one["stepped"][name])[clear].abs().max() < 2e-5, name


@pytest.mark.parametrize(("ranks", "index"), CASES, ids=NAMES)
def test_every_rank_exports_the_checkpoint_in_the_same_order(
    results: Any, moe: Reference, ranks: int, index: int
) -> None:
    from safetensors.torch import load_file

    files = load_file(moe.path / "model.safetensors")
    order = list(results[1][0][0]["weights"])
    for rank in results[ranks]:
        weights = rank[index]["weights"]
        assert list(weights) == order
        assert weights.keys() == files.keys()
        assert all(torch.equal(weights[name], files[name]) for name in files)


@pytest.mark.parametrize(("ranks", "index"), CASES, ids=NAMES)
def test_metrics_reach_every_stage(results: Any, ranks: int, index: int) -> None:
    one = {int(m["index"]): m["loss"] for m in results[1][0][0]["metrics"]}
    seen = set()
    for rank in results[ranks]:
        for metrics in rank[index]["metrics"]:
            number = int(metrics["index"])
            seen.add(number)
            assert metrics["loss"] == pytest.approx(float(one[number]), abs=1e-5)
    assert seen == set(one)


def test_gradients_equal_hugging_face(results: Any, moe: Reference) -> None:
    ours = results[1][0][0]["gradients"]
    for name, expected in moe.gradients.items():
        layer = name.rsplit(".", 1)[0]
        if name.endswith("experts.gate_up_proj"):
            actual = torch.stack(
                [torch.cat([ours[f"{layer}.{e}.{part}_proj.weight"] for part in ("gate", "up")]) for e in range(8)]
            )
        elif name.endswith("experts.down_proj"):
            actual = torch.stack([ours[f"{layer}.{e}.down_proj.weight"] for e in range(8)])
        else:
            actual = ours[name]
        assert ((actual - expected).abs().max() / expected.abs().max()).item() < RELATIVE, name


@pytest.fixture(scope="module", params=[1, 2], ids=["1rank", "2ranks"])
def found(request: pytest.FixtureRequest, others: dict[str, Reference]) -> list[dict[str, Any]]:
    """What each rank returned for every other shape of model."""
    layouts = {1: [Layout()], 2: [Layout(tensor=2), Layout(pipeline=2)]}[request.param]
    dense = [*layouts, Layout(tensor=2, sequence=True)] if request.param == 2 else layouts
    return launch(
        WORKERS,
        "compare_models",
        request.param,
        models={
            name: (reference.path, reference.samples, layouts if name == "plain-topk" else dense)
            for name, reference in others.items()
        },
    )


@pytest.mark.parametrize("name", ["llama", "qwen3", "plain-topk"])
def test_other_shapes_of_model(found: list[dict[str, Any]], others: dict[str, Reference], name: str) -> None:
    for rank in found:
        for result in rank[name]:
            check_scores(result, others[name])
            assert result["mismatches"] == []
            assert ("lm_head.weight" in result["weights"]) == (name != "llama")
            if name != "plain-topk":
                worst = relative(result["gradients"], others[name].gradients)
                assert max(worst.values()) < RELATIVE, max(worst, key=worst.__getitem__)
