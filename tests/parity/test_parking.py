"""A policy's memory goes away and comes back in place: training goes on bit for bit as if it had stayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.layout import Layout
from tests.parity.conftest import Reference
from tests.parity.launch import launch

WORK = Path(__file__).with_name("parking_workers.py")
CASES: dict[str, dict[str, Any]] = {
    "float32": {"layout": Layout()},
    "distributed": {"layout": Layout(tensor=2, expert=2), "distributed": True},
    "bfloat16": {"layout": Layout(expert=2), "dtype": torch.bfloat16, "freeze_router": True},
    "distributed bfloat16": {"layout": Layout(), "dtype": torch.bfloat16, "distributed": True},
}
Found = list[dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def found(moe: Reference) -> Found:
    common = {"path": moe.path, "samples": moe.samples}
    return launch(WORK, "parked", 2, cases={name: common | case for name, case in CASES.items()})


@pytest.mark.parametrize("case", CASES)
def test_three_steps_are_the_same_bit_for_bit(found: Found, case: str) -> None:
    for rank in found:
        stays, went = rank[case]["stays"], rank[case]["went"]
        assert went["norms"] == stays["norms"]
        assert went["weights"].keys() == stays["weights"].keys()
        for name, tensor in stays["weights"].items():
            assert went["weights"][name].equal(tensor), name
            assert case != "float32" or "gate" in name or not tensor.equal(stays["start"][name]), f"{name} did not move"
        assert len(went["state"]) == len(stays["state"]) > 0
        assert all(one.equal(other) for one, other in zip(went["state"], stays["state"], strict=True))


@pytest.mark.parametrize("case", CASES)
def test_nothing_of_it_is_left_on_the_device_while_it_is_away(found: Found, case: str) -> None:
    for rank in found:
        for number, trip in enumerate(rank[case]["trips"]):
            parameters, gradients, optimizer, reference = trip["before"]
            assert min(parameters, gradients, reference) > 0
            # Adam's moments are made by the first step; fp32 copies are there from the start
            assert optimizer > 0 or (number == 0 and "bfloat16" not in case)
            assert trip["off"] == trip["on"][::-1] == (gradients + optimizer, parameters + reference)
            assert trip["middle"] == (parameters, 0, 0, reference)
            assert trip["away"] == (0, 0, 0, 0)
            assert trip["after"] == trip["before"]
            assert trip["gradients are zero"]


@pytest.mark.parametrize("case", CASES)
def test_no_tensor_is_rebound(found: Found, case: str) -> None:
    for rank in found:
        assert rank[case]["rebound"] == []


@pytest.mark.parametrize("case", CASES)
def test_a_frozen_reference_goes_along(found: Found, case: str) -> None:
    for rank in found:
        assert rank[case]["reference"] == []


def test_moving_twice_is_refused(found: Found) -> None:
    for rank in found:
        for case in CASES:
            assert rank[case]["twice"] == "this memory is not away. this memory is away already. "


@pytest.mark.parametrize("case", CASES)
def test_moments_and_copies_are_all_of_the_optimizer_and_none_of_the_model(found: Found, case: str) -> None:
    for rank in found:
        parameters, gradients, optimizer, _ = rank[case]["trips"][-1]["before"]
        if case == "float32":  # two moments; the parameters it works on are the model's own
            assert 2 * 0.9 * parameters < optimizer < 2 * 1.1 * parameters
            assert gradients == pytest.approx(parameters, rel=0.05)
        if case == "bfloat16":  # two moments and a copy, in fp32, of what is trained
            assert 6 * 0.9 * parameters < optimizer < 6 * 1.1 * parameters
            assert gradients == pytest.approx(2 * parameters, rel=0.05)
        if case == "distributed bfloat16":  # half of that on each of two data-parallel ranks
            assert 3 * 0.9 * parameters < optimizer < 3 * 1.1 * parameters
