"""Routes of the samples of a prompt, what is missing of them, and what a vLLM of another release would say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pivot.rollout.cpu_routes import RouteRecorder
from pivot.rollout.routes import MISSING, NativeRoutes, Routes, Rows, checked, missing_share, of_group


def rows(*firsts: int) -> Rows:
    """Two layers, two experts a token: those of layer 0 are `first` and the next, of layer 1 two more."""
    tokens = [[n, n + 1, n + 2, n + 3] if n >= 0 else [MISSING] * 4 for n in firsts]
    return np.array(tokens, np.int16).reshape(-1, 2, 2)


def test_samples_of_a_prompt_fill_each_others_holes() -> None:
    first, second = of_group([rows(-1, -1, 3, 4), rows(-1, 2, 3, 5, 6)], prompt=3)
    assert first.prompt is second.prompt
    assert np.array_equal(first.prompt, rows(-1, 2, 3))
    assert np.array_equal(first.generated, rows(4))
    assert np.array_equal(second.whole, rows(-1, 2, 3, 5, 6))


def test_the_share_of_missing_routes_counts_a_prompt_once() -> None:
    one = rows(1, -1)
    one[0, 1] = MISSING  # of two layers
    groups = [[Routes(one, rows(5)), Routes(one, rows(-1, 6))], [Routes(rows(1), rows())], []]
    assert missing_share(groups) == (3 + 2) / (4 + 2 + 4 + 2)
    assert missing_share([]) == 0.0


def test_vllms_own_routes_become_int16_and_must_fit_the_sample() -> None:
    native = SimpleNamespace(outputs=[SimpleNamespace(routed_experts=np.array([[[200, 3]]], np.uint8))])
    found = checked(NativeRoutes().take(native), tokens=1)
    assert (found.dtype, found.tolist()) == (np.int16, [[[200, 3]]])
    for wrong, count in ((found, 1), (None, 0)):
        with pytest.raises(RuntimeError, match=f"routes for {count} of a sample's 2 input tokens"):
            checked(wrong, tokens=2)


def test_vllm_has_what_routes_are_taken_from() -> None:
    """The options and fields that only a CUDA device uses."""
    import dataclasses

    from vllm import CompletionOutput
    from vllm.engine.arg_utils import EngineArgs

    assert "enable_return_routed_experts" in {item.name for item in dataclasses.fields(EngineArgs)}
    assert "routed_experts" in {item.name for item in dataclasses.fields(CompletionOutput)}


class Runner:
    """As much of vLLM's model runner as the recorder sees: steps of a batch, given as (request, start, rows)."""

    def __init__(self, block: int) -> None:
        self.model_config = SimpleNamespace(
            is_moe=True, get_total_num_hidden_layers=lambda: 2, get_num_experts_per_tok=lambda: 2
        )
        self.table = np.zeros((4, 4), np.int32)
        self.input_batch = SimpleNamespace(
            req_ids=[],
            num_computed_tokens_cpu=np.zeros(4, np.int32),
            block_table=[SimpleNamespace(block_size=block, get_numpy_array=lambda: self.table)],
        )
        self.recorder: Any = None
        self.rows: Rows = rows()

    def get_model(self) -> Any:
        return SimpleNamespace(modules=list)

    def execute_model(self, scheduled: Any) -> str:
        import torch

        for layer in range(2):
            self.recorder.capture(layer, torch.from_numpy(self.rows[:, layer].astype(np.int32)))
        return "output"

    def step(self, *parts: tuple[str, int, list[int], Rows]) -> None:
        """(request, tokens computed before, blocks, rows of this step) of every request in the batch."""
        self.input_batch.req_ids = [name for name, *_ in parts]
        for index, (_, start, blocks, _) in enumerate(parts):
            self.input_batch.num_computed_tokens_cpu[index] = start
            self.table[index, : len(blocks)] = blocks
        self.rows = np.concatenate([new for *_, new in parts])
        counts = {name: len(new) for name, _, _, new in parts}
        scheduled = SimpleNamespace(total_num_scheduled_tokens=len(self.rows), num_scheduled_tokens=counts)
        assert self.execute_model(scheduled) == "output"


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    from vllm.model_executor.layers.fused_moe import routed_experts_capturer

    monkeypatch.setattr(routed_experts_capturer, "bind_routed_experts_capturer", lambda model, recorder: None)
    made = Runner(block=2)
    made.recorder = RouteRecorder(SimpleNamespace(model_runner=made))
    return made


def taken(runner: Runner, request: str) -> Rows:
    found: Rows = runner.recorder.take(SimpleNamespace(request_id=request))
    return found


def test_rows_of_a_batch_go_to_their_requests(runner: Runner) -> None:
    runner.step(("0-a", 0, [5, 6], rows(10, 11, 12)), ("1-b", 0, [7], rows(20)))
    runner.step(("1-b", 1, [7], rows(21)), ("0-a", 3, [5, 6], rows(13)))
    assert np.array_equal(taken(runner, "0"), rows(10, 11, 12, 13))
    assert np.array_equal(taken(runner, "1"), rows(20, 21))


def test_a_cached_prefix_has_the_routes_it_was_computed_with(runner: Runner) -> None:
    """In an earlier call, and in the very step in which another request computes it."""
    runner.step(("0-a", 0, [3, 4], rows(10, 11, 12)))
    runner.recorder.clear()
    runner.step(("0-b", 2, [3, 8], rows(30)), ("1-c", 0, [9, 1], rows(40, 41, 42)), ("2-d", 2, [9, 2], rows(50)))
    assert np.array_equal(taken(runner, "0"), rows(10, 11, 30))
    assert np.array_equal(taken(runner, "2"), rows(40, 41, 50))


def test_a_preempted_request_is_whole_again(runner: Runner) -> None:
    runner.step(("0-a", 0, [3, 4], rows(10, 11, 12)))
    runner.step(("0-a", 2, [3, 5], rows(12, 13)))  # its second block was given away
    runner.step(("0-a", 4, [3, 5, 6], rows(14)))
    assert np.array_equal(taken(runner, "0"), rows(10, 11, 12, 13, 14))


def test_what_was_never_computed_here_is_missing(runner: Runner) -> None:
    runner.step(("0-a", 2, [7, 3], rows(10)))
    assert np.array_equal(taken(runner, "0"), rows(-1, -1, 10))


def test_routers_that_report_other_rows_than_the_step_has_are_an_error(runner: Runner) -> None:
    runner.rows = rows(1, 2)
    runner.input_batch.req_ids = ["0-a"]
    scheduled = SimpleNamespace(total_num_scheduled_tokens=3, num_scheduled_tokens={"0-a": 3})
    with pytest.raises(RuntimeError, match=r"routers reported \{0: 2, 1: 2\} \(layer: rows\) in a step of 3 tokens"):
        runner.execute_model(scheduled)
