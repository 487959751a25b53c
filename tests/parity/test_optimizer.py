"""Norms by kind of layer, rules, decay and clipping: exact on one rank, and the same in every layout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.layout import Layout
from tests.parity.conftest import Reference
from tests.parity.launch import launch
from tests.parity.optimizer_workers import LR

WORKERS = Path(__file__).with_name("optimizer_workers.py")
DECAY = 0.1
RULES = [
    {"match": "router", "lr": 0.0},
    {"match": "embedding", "lr": 0.5},
    {"match": "decoder.layers.3.*", "lr": 0.25},
    {"match": "decoder.layers.3.mlp.router.*", "lr": 0.125},
    {"match": "norm", "weight_decay": 2.0},
    {"match": "output_layer.*", "weight_decay": 0.0},
]
NOTHING = [{"match": "norm", "lr": 1.0}, {"match": "decoder.layers.4.*", "lr": 0.5}]
LAYOUTS = {
    "tensor": (2, Layout(tensor=2)),
    "pipeline": (2, Layout(pipeline=2)),
    "expert": (2, Layout(expert=2)),
    "tensor alone for experts": (2, Layout(tensor=2, expert_tensor=2)),
    "data": (2, Layout()),
    "interleaved": (2, Layout(pipeline=2, virtual_pipeline=2)),
    "everything": (4, Layout(tensor=2, pipeline=2, expert=2)),
}


@pytest.fixture(scope="module")
def one(moe: Reference, others: dict[str, Reference]) -> dict[str, Any]:
    """The cases on one rank."""
    plain = {"path": moe.path, "samples": moe.samples, "layout": Layout()}
    tied = {"path": others["llama"].path, "samples": others["llama"].samples, "layout": Layout()}
    cases = {
        "plain": plain,
        "decay": plain | {"weight_decay": DECAY},
        "rules": plain | {"weight_decay": DECAY, "rules": RULES},
        "nothing": plain | {"rules": NOTHING},
        "frozen": plain | {"freeze_router": True},
        "frozen rule": plain | {"freeze_router": True, "rules": RULES[:1]},
        "clip": plain | {"clip": 0.01},
        "offload": plain | {"offload": 0.5},
        "tied": tied,
        "two": plain | {"steps": 2, "weight_decay": DECAY},
        "bf16": plain | {"dtype": torch.bfloat16},
    }
    return dict(launch(WORKERS, "many", 1, cases=cases)[0])


@pytest.fixture(scope="module", params=[2, 4], ids=["2ranks", "4ranks"])
def several(
    request: pytest.FixtureRequest, moe: Reference, others: dict[str, Reference], tmp_path_factory: Any
) -> list[dict[str, Any]]:
    """What every rank found in each layout of this world, and in some special cases on two ranks."""
    plain = {"path": moe.path, "samples": moe.samples}
    tied = {"path": others["llama"].path, "samples": others["llama"].samples}
    cases = {name: plain | {"layout": layout} for name, (ranks, layout) in LAYOUTS.items() if ranks == request.param}
    if request.param == 2:
        pipeline = {"layout": Layout(pipeline=2)}
        cases |= {
            "tied pipeline": tied | pipeline,
            "tied tensor": tied | {"layout": Layout(tensor=2)},
            "distributed": plain | {"layout": Layout(), "distributed": True, "steps": 2, "weight_decay": DECAY},
            "distributed bf16": plain | {"layout": Layout(), "distributed": True, "dtype": torch.bfloat16},
            "distributed expert": plain | {"layout": Layout(expert=2), "distributed": True},
            "rules": plain | pipeline | {"weight_decay": DECAY, "rules": RULES},
            "nothing": plain | pipeline | {"rules": NOTHING},
        }
        again = plain | {"layouts": [Layout(pipeline=2), Layout(tensor=2)], "weight_decay": DECAY, "rules": RULES}
        for name, distributed in (("resume", False), ("resume distributed", True)):
            cases[name] = again | {"folder": tmp_path_factory.mktemp("resume"), "distributed": distributed}
    return launch(WORKERS, "many", request.param, cases=cases)


def hf_kind(name: str) -> str:
    """The kind of a Hugging Face tensor of the two models here."""
    for part, kind in (
        ("norm", "norm"),
        ("embed_tokens", "embedding"),
        ("lm_head", "head"),
        ("mlp.gate.", "router"),
        ("mlp.experts.", "experts"),
        ("mlp.", "mlp"),
        ("self_attn.", "attention"),
    ):
        if part in name:
            return kind
    raise AssertionError(name)


def by_hand(tensors: dict[str, Tensor]) -> dict[str, float]:
    squares: dict[str, float] = {}
    for name, tensor in tensors.items():
        squares[hf_kind(name)] = squares.get(hf_kind(name), 0.0) + float(tensor.double().square().sum())
    return {kind: math.sqrt(value) for kind, value in squares.items()}


@pytest.mark.parametrize("case", ["plain", "tied"])
def test_norms_on_one_rank_are_those_of_the_hugging_face_tensors(one: dict[str, Any], case: str) -> None:
    expected = {f"param_norm/{kind}": value for kind, value in by_hand(one[case]["before"]).items()}
    expected |= {f"grad_norm/{kind}": value for kind, value in by_hand(one[case]["gradients"]).items()}
    assert one[case]["norms"] == pytest.approx(expected, rel=1e-5)
    kinds = {"embedding", "attention", "norm"} | ({"experts", "router", "head"} if case == "plain" else {"mlp"})
    assert expected.keys() == {f"{what}_norm/{kind}" for kind in kinds for what in ("param", "grad")}


def test_a_frozen_router_has_a_parameter_norm_alone(one: dict[str, Any]) -> None:
    assert "param_norm/router" in one["frozen"]["norms"]
    assert "grad_norm/router" not in one["frozen"]["norms"]


REFERENCE = {"tied pipeline": "tied", "tied tensor": "tied", "distributed bf16": "bf16", "rules": "rules"}


def test_norms_are_the_same_in_every_layout(one: dict[str, Any], several: list[dict[str, Any]]) -> None:
    for rank in several:
        for name, result in rank.items():
            if "norms" not in result:
                continue
            expected = one[REFERENCE.get(name, "plain")]
            bound = 2e-2 if "bf16" in name else 1e-5
            assert result["norms"] == pytest.approx(expected["norms"], rel=bound), name
            whole = math.sqrt(sum(v**2 for key, v in result["norms"].items() if key.startswith("grad_norm/")))
            assert whole == pytest.approx(result["norm"], rel=1e-5), name


def moved(result: dict[str, Any]) -> dict[str, Tensor]:
    return {name: result["after"][name] - before for name, before in result["before"].items()}


def test_matrices_decay_and_norms_do_not(one: dict[str, Any]) -> None:
    plain, decayed = one["plain"]["after"], one["decay"]["after"]
    for name, before in one["plain"]["before"].items():
        factor = 0.0 if hf_kind(name) == "norm" else -LR * DECAY
        assert (decayed[name] - plain[name] - factor * before).abs().max() < 1e-7, name


def rule_of(name: str) -> tuple[float, float]:
    """What RULES say of a Hugging Face tensor: multipliers of the learning rate and of the decay."""
    kind = hf_kind(name)
    lr = {"router": 0.0, "embedding": 0.5}.get(kind, 1.0)
    if ".layers.3." in name:
        lr = 0.125 if kind == "router" else 0.25
    return lr, {"norm": 2.0, "head": 0.0}.get(kind, 1.0)


def check_rules(result: dict[str, Any], plain: dict[str, Any]) -> None:
    for name, step in moved(result).items():
        lr, decay = rule_of(name)
        expected = lr * (moved(plain)[name] - LR * DECAY * decay * plain["before"][name])
        clear = plain["gradients"][name].abs() > 1e-5  # Adam's first step hangs on the sign of the gradient
        assert (step - expected)[clear].abs().max() < 1e-6, name
        assert lr or torch.equal(result["after"][name], result["before"][name])


def test_rules_multiply_learning_rate_and_decay(one: dict[str, Any]) -> None:
    check_rules(one["rules"], one["plain"])


def test_rules_and_the_distributed_optimizer_hold_on_two_ranks(
    one: dict[str, Any], several: list[dict[str, Any]]
) -> None:
    for rank in several:
        if "rules" not in rank:
            continue
        check_rules(rank["rules"], one["plain"])
        for name, weight in one["two"]["after"].items():
            clear = one["two"]["gradients"][name].abs() > 1e-5
            assert (rank["distributed"]["after"][name] - weight)[clear].abs().max() < 2e-5, name


def test_a_rule_that_matches_nothing_is_named_on_every_rank(one: dict[str, Any], several: list[dict[str, Any]]) -> None:
    for rank in [one, *several]:
        if "nothing" in rank:
            message = rank["nothing"]["error"]
            assert message.startswith("optimizer.rules[1]: 'decoder.layers.4.*' matches no trained parameter")
    assert one["frozen rule"]["error"].startswith("optimizer.rules[0]: 'router' matches no trained parameter")


def test_the_gradient_is_clipped_to_the_global_norm(one: dict[str, Any]) -> None:
    assert one["clip"]["norm"] == pytest.approx(one["plain"]["norm"], rel=1e-6)
    assert one["clip"]["norm"] > 0.01
    assert one["clip"]["moment"] == pytest.approx((1 - 0.9) * 0.01, rel=1e-4)
    assert one["clip"]["norms"] == pytest.approx(one["plain"]["norms"], rel=1e-6)  # they are those before clipping


@pytest.mark.skipif(torch.cuda.is_available(), reason="refused only without a CUDA device")
def test_offloading_where_everything_is_in_host_memory_is_refused(one: dict[str, Any]) -> None:
    assert one["offload"]["error"].startswith("optimizer.offload is 0.5, but there is no CUDA device")


def test_a_run_with_rules_resumes_in_any_layout(several: list[dict[str, Any]]) -> None:
    """Some groups of parameters are empty on some stages: their count of updates must survive all the same."""
    for rank in several:
        for name in rank.keys() & {"resume", "resume distributed"}:
            straight, same, other = rank[name]["resumed"]
            for tensor, weight in straight.items():
                assert torch.equal(same[tensor], weight), (name, tensor)
                assert (other[tensor] - weight).abs().max() < 2e-6, (name, tensor)
