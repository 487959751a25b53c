"""Seconds of a step: arithmetic by hand where there is one, trends, and the error against published runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.plan import RUNS, fitted, planned, predicted
from pivot.config import load
from pivot.layout import Layout
from pivot.ops.plan import engine, swap
from pivot.ops.plan.hardware import DEVICES, REACHED
from pivot.ops.plan.job import job
from pivot.ops.plan.memory import memory
from pivot.ops.plan.rules import notes, problems
from pivot.ops.plan.step import forward, generate, group_cost, step, train
from tests.unit.ops.plan.jobs import qwen

ERRORS = {
    ("0.4", "Llama-3.1-8B-Instruct", "16 h100"): 0.09,
    ("0.4", "Qwen3-30B-A3B", "32 h100"): -0.16,
    ("0.4", "Qwen3-32B", "32 h100"): 0.25,
    ("0.4", "Qwen3-235B-A22B", "128 h100"): -0.11,
    ("0.6", "Qwen3-30B-A3B", "32 h100"): 0.21,
    ("0.6", "Qwen3-235B-A22B", "128 h100"): 0.14,
    ("0.6", "Qwen3-235B-A22B", "256 h100"): 0.14,
    ("0.6", "Qwen3-235B-A22B", "64 gb200"): 0.27,
    ("0.6", "Qwen3-235B-A22B", "128 gb200"): -0.13,
    ("0.6", "Qwen3-30B-A3B", "16 gb200"): -0.08,
}
"""Predicted over published seconds, minus one, by NeMo-RL's release, model and GPUs: docs/plan.md shows the same."""


def test_errors_against_published_steps_are_those_in_the_documentation() -> None:
    found = {(run.release, run.model, f"{run.gpus} {run.gpu}"): total / run.seconds - 1 for run, total in predicted()}
    assert found == {key: pytest.approx(error, abs=0.01) for key, error in ERRORS.items()}


def test_the_factor_is_that_of_the_runs_it_was_fitted_to() -> None:
    assert fitted() == pytest.approx(DEVICES["h100"].left_out, abs=0.02)


def test_layouts_that_others_ran_fit_the_plan() -> None:
    for run in RUNS:
        assert memory(planned(run)).problem is None, run


def test_a_forward_pass_by_hand() -> None:
    job = qwen(8, Layout(expert=8))
    attention = 2048 * (4096 + 2 * 512) + 4096 * 2048
    dense = 48 * (attention + 2 * 2048 + 2 * 128 + 2048 * 128)
    cost = forward(job.model, 10, 3, 100)
    assert cost.dense == 2 * dense * 10 + 2 * 151936 * 2048 * 3
    assert cost.experts == 2 * 48 * 8 * 3 * 768 * 2048 * 10
    assert cost.attention == 4 * 48 * 4096 * 100


def test_shared_prefixes_save_what_they_should() -> None:
    job = qwen(32, Layout(expert=8))
    job = replace(job, work=replace(job.work, history=9400, action=200))
    alone = replace(job, training=replace(job.training, shared=False))
    shared, repeated = group_cost(job), group_cost(alone)
    assert repeated.experts / shared.experts == pytest.approx(16 * 9599 / (9400 + 16 * 199), rel=1e-6)
    assert train(alone) > 5 * train(job)


def test_trends() -> None:
    job = qwen(32, Layout(expert=8))
    assert generate(job, 128) > generate(job, 64)
    two = job.cut(job.layout, 2, False)
    assert step(two).phases["swap"] < step(job).phases["swap"]
    wide = qwen(256, Layout(expert=8))
    assert step(wide).idle == 0.75
    longer = replace(job, work=replace(job.work, history=8000))
    assert train(longer) > train(job)
    assert "memory" in step(job).phases
    assert "memory" not in step(replace(job, engines=replace(job.engines, sleep=0))).phases
    again = replace(job, training=replace(job.training, recompute="full"))
    assert 1 < train(again) / train(job) < 1.5
    kl = replace(job, training=replace(job.training, reference=True, reference_every=1))
    assert 1 < train(kl) / train(job) < 1.5


def test_a_family_of_megatron_bridge_gathers_the_model_on_every_rank() -> None:
    asked = job(load("nemotron_super_swe", []))
    assert swap.moved(asked).received == 2 * asked.model.total
    assert swap.moved(asked).loaded == 2 * engine.weight_elements(asked)


def test_a_swap_is_what_the_projection_of_docs_swap_md_says() -> None:
    phases = swap.seconds(qwen(8, Layout(expert=8)))
    loader = phases.pop("loader")
    assert sum(phases.values()) == pytest.approx(2.4, abs=0.15)
    assert loader == pytest.approx(18_867 * REACHED.load)


def test_graphs_save_what_launching_a_step_costs() -> None:
    plain, recorded = (job(load("qwen3_30b_tau2_4n", [f"rollout.cuda_graphs={on}"])) for on in ("false", "true"))
    saved = generate(plain, plain.work.prompts) - generate(recorded, plain.work.prompts)
    assert saved > 10
    assert f"rollout.cuda_graphs=false costs about {saved:.0f} s a step" in " ".join(notes(plain))
    assert "cuda_graphs" not in " ".join(notes(recorded))
    on_cpu = replace(recorded, device=DEVICES["cpu"])
    assert "rollout.cuda_graphs is true, and a CPU has no CUDA graphs" in problems(on_cpu)
