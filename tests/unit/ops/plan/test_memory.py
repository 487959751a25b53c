"""Memory by part and state: exact where it can be, and what is away is away."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from benchmarks.swap_layouts import QWEN3_30B, shape
from benchmarks.swap_projection import BUCKET, moved, planned
from pivot.layout import Layout
from pivot.ops.plan import engine, swap
from pivot.ops.plan.hardware import GIB
from pivot.ops.plan.memory import memory, of_stage
from pivot.ops.plan.policy import CHUNK_ROWS, activations, group_tokens, held, optimizer_bytes
from pivot.policy import logprobs
from pivot.policy.hf import hf_shapes
from pivot.swap.keep import WireSettings
from pivot.swap.needs import EngineShape, needs
from tests.unit.ops.plan.jobs import qwen


def test_states_hold_what_the_memory_machine_leaves_there() -> None:
    parts = memory(qwen(32, Layout(expert=8), reference=True)).parts
    there = {name: tuple(map(bool, sizes)) for name, sizes in parts.items()}
    assert there == {
        "weights": (True, True, False),
        "start policy": (True, True, False),
        "gradients": (True, False, False),
        "optimizer": (True, False, False),
        "activations": (True, False, False),
        "logits": (True, False, False),
        "engine weights": (False, True, True),
        "KV cache": (False, False, True),
        "engine working": (False, False, True),
        "swap buffers": (True, True, True),
        "swap working": (False, True, False),
        "context": (True, True, True),
        "fragments": (True, True, True),
    }


def test_nothing_moves_at_sleep_level_0() -> None:
    job = qwen(32, Layout(expert=8))
    still = replace(job, engines=replace(job.engines, sleep=0))
    moving, staying = memory(job), memory(still)
    for name in ("weights", "gradients", "optimizer", "engine weights", "KV cache"):
        assert staying.parts[name] == (max(moving.parts[name]),) * 3
    assert "engine away" in moving.host
    assert "engine away" not in staying.host


def test_recorded_decode_steps_stay_while_the_engine_sleeps() -> None:
    job = qwen(32, Layout(expert=8))
    parts = memory(replace(job, cuda_graphs=True)).parts
    assert parts.pop("CUDA graphs") == (GIB, GIB, GIB)
    assert parts.keys() == memory(job).parts.keys()


def test_weights_gradients_and_optimizer_of_a_rank_by_hand() -> None:
    job = qwen(32, Layout(expert=8))
    experts = 48 * 128 * 3 * 768 * 2048 // 8
    routers = 48 * 128 * 2048
    dense = job.model.total - 8 * experts
    parts = memory(job).parts
    assert parts["weights"][0] == 2 * (dense + experts)
    assert parts["gradients"][0] == 4 * (dense - routers + experts)
    assert parts["optimizer"][0] == math.ceil(12 * (dense - routers) / 32) + math.ceil(12 * experts / 4)


@pytest.mark.parametrize(
    ("changed", "each", "shared"),
    [({"itemsize": 4}, 8, True), ({"distributed": False}, 12, False), ({"offload": 0.5}, 12, True)],
)
def test_optimizer_state_by_kind(changed: dict[str, object], each: int, shared: bool) -> None:
    job = qwen(32, Layout(expert=8), **changed)
    parameters = held(job, 0)
    trained = parameters.dense - parameters.frozen
    whole = each * trained / (32 if shared else 1) + each * parameters.experts / (4 if shared else 1)
    here, away = optimizer_bytes(job, parameters)
    assert here + away == pytest.approx(whole, abs=2)
    assert away == pytest.approx(job.training.offload * whole, abs=2)


@pytest.mark.parametrize(("tensor", "whole"), [(1, False), (2, False), (2, True), (4, True), (8, False), (8, True)])
def test_an_engine_holds_what_its_loaders_keep(tensor: int, whole: bool) -> None:
    job = qwen(32, Layout()).cut(Layout(), tensor, whole)
    cut = EngineShape(tensor, whole, job.model.groups, job.model.experts)
    real = sum(region.numel for region in needs(hf_shapes(shape(QWEN3_30B)), cut, 0).values())
    assert engine.weight_elements(job) == real
    heads = max(1, 4 // tensor)
    assert engine.token_bytes(job) == 2 * heads * 128 * 48 * 2


@pytest.mark.parametrize(("tensor", "whole"), [(1, False), (2, False), (8, True)])
def test_a_swap_moves_what_the_real_plan_moves(tensor: int, whole: bool) -> None:
    real = moved(planned(EngineShape(tensor, whole, 4, 128), WireSettings())[0])
    said = swap.moved(qwen(8, Layout(expert=8)).cut(Layout(expert=8), tensor, whole))
    assert said.received == pytest.approx(real.received, rel=0.01, abs=1e6)
    assert said.loaded == real.loaded
    assert said.tensors == real.tensors
    assert said.takes == pytest.approx(real.takes, rel=0.03)
    assert said.sends == pytest.approx(real.sends, rel=0.05)
    assert said.buckets == pytest.approx(real.buckets, rel=0.1)
    assert BUCKET == 256 << 20


def test_a_shared_history_is_counted_once_and_the_longest_one_sets_the_memory() -> None:
    job = qwen(32, Layout(expert=8))
    assert group_tokens(job) == 2000 + 16 * 199
    alone = replace(job, training=replace(job.training, shared=False))
    assert group_tokens(alone) == 16 * 2199
    longer = replace(job, engines=replace(job.engines, context=32768))
    assert activations(longer, 0).kept == pytest.approx(4 * activations(job, 0).kept, rel=0.01)


def test_recomputing_tensor_ranks_and_context_ranks_save_activations() -> None:
    plain = activations(qwen(32, Layout(expert=8)), 0)
    again = activations(qwen(32, Layout(expert=8), recompute="full"), 0)
    part = activations(qwen(32, Layout(expert=8), recompute="selective"), 0)
    assert again.kept == 2 * 8192 * 2048 * 48
    assert again.kept < part.kept < plain.kept
    assert activations(qwen(32, Layout(tensor=2, expert=8)), 0).kept == pytest.approx(plain.kept / 2, rel=0.01)
    assert activations(qwen(32, Layout(context=2, expert=8)), 0).kept == pytest.approx(plain.kept / 2, rel=0.02)


def test_the_first_stage_keeps_a_micro_batch_for_each_stage() -> None:
    job = qwen(8, Layout(pipeline=4))
    first, last = activations(job, 0), activations(job, 3)
    assert first.kept == pytest.approx(4 * last.kept, abs=4)
    assert "logits" not in of_stage(job, 0).parts
    assert of_stage(job, 3).parts["logits"][0] == last.logits > 0
    # what is in flight counts the step's micro-batches, of which there may be fewer
    few = replace(job, work=replace(job.work, prompts=1), training=replace(job.training, budget=1 << 20))
    assert activations(few, 0).kept == pytest.approx(last.kept * (1 << 20) / 8192, rel=0.01)


def test_the_chunk_of_logits_is_the_policys() -> None:
    assert CHUNK_ROWS == logprobs.CHUNK_ROWS


def test_what_does_not_fit_is_said_with_the_state_and_the_largest_part() -> None:
    job = qwen(32, Layout(expert=8), recompute="full")
    assert memory(job).problem is None
    tight = memory(replace(job, engines=replace(job.engines, cache=20 * GIB)))
    assert tight.problem is not None
    assert "while generating (largest: engine weights 56.9 GiB)" in tight.problem
    crowded = memory(replace(job, device=replace(job.device, host_memory=32 * GIB)))
    assert crowded.problem is not None
    assert "out of host memory" in crowded.problem
