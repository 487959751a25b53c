"""The update on the real policy: two ranks and any micro-batches do what one rank does with one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.demo.run import CHECKPOINT
from pivot.layout import Layout
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("update_workers.py")
WHOLE = 10_000


@pytest.fixture(scope="module")
def one_rank() -> list[dict[str, Any]]:
    """KL in the loss, KL in the reward; then both again with a micro-batch for every sample."""
    arguments = {"path": str(CHECKPOINT), "layouts": [Layout()], "budgets": [WHOLE, 1]}
    found: list[dict[str, Any]] = launch(WORKERS, "updates", 1, **arguments)[0]
    return found


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual["place"] == expected["place"]
    assert actual["stats"] == pytest.approx(expected["stats"], rel=1e-4, abs=1e-6)
    assert actual["gradients"].keys() == expected["gradients"].keys()
    for name, gradient in expected["gradients"].items():
        assert torch.allclose(actual["gradients"][name], gradient, atol=2e-5 * float(gradient.abs().max()) + 1e-9), name
    assert expected["stats"]["grad_norm"] > 0.01


def test_micro_batches_change_nothing(one_rank: list[dict[str, Any]]) -> None:
    for split, whole in zip(one_rank[2:], one_rank[:2], strict=True):
        assert_same(split, whole)
    assert "kl_of_actions" in one_rank[1]["stats"]
    assert one_rank[0]["stats"]["trained_tokens"] == 36  # the over-long action is masked


def test_data_parallel_and_tensor_parallel_ranks_change_nothing(one_rank: list[dict[str, Any]]) -> None:
    layouts = [Layout(), Layout(tensor=2, expert=2)]
    first, second = launch(WORKERS, "updates", 2, path=str(CHECKPOINT), layouts=layouts, budgets=[20])
    assert [each["stats"] for each in first] == [each["stats"] for each in second]
    for split, whole in zip(first, one_rank[:2] * 2, strict=True):
        assert_same(split, whole)
