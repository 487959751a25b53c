"""A policy's memory goes away and comes back in place: training goes on bit for bit as if it had stayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.layout import Layout
from pivot.ops.plan.hardware import DEVICES
from pivot.ops.plan.job import Engines, Exchange, Job, Training, Work
from pivot.ops.plan.memory import of_stage
from pivot.ops.plan.model import find
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
def test_bytes_are_those_of_a_plan(found: Found, moe: Reference, case: str) -> None:
    options = CASES[case]
    training = Training(
        itemsize=2 if options.get("dtype") is torch.bfloat16 else 4,
        frozen_router=options.get("freeze_router", False),
        distributed=options.get("distributed", False),
        reference=True,
    )
    parts = of_stage(planned(moe.path, options["layout"], training), 0).parts
    said = [parts[name][0] for name in ("weights", "gradients", "optimizer", "start policy")]
    for rank in found:
        parameters, gradients, optimizer, reference = rank[case]["trips"][-1]["before"]
        assert [parameters, gradients, optimizer, reference] == pytest.approx(said, rel=0.01)


def planned(path: Path, layout: Layout, training: Training) -> Job:
    """Two ranks that nothing else runs on."""
    return Job(
        find(str(path)), DEVICES["cpu"], 2, 2, layout, Engines(1, False, 0, 0, 1, 64), training,
        Work(1, 2, 32, 8, 8), Exchange(1 << 20, 4, 0.0),
    )  # fmt: skip
