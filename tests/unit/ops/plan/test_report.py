"""`pivot plan`: every recipe is planned, what does not fit is said with status 1, and other layouts are found."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from pivot.cli import main
from pivot.config import load, recipes
from pivot.layout import Layout
from pivot.ops.plan.hardware import DEVICES, GIB
from pivot.ops.plan.job import job
from pivot.ops.plan.layouts import keys, survey
from pivot.ops.plan.memory import memory
from pivot.ops.plan.remedies import remedies
from pivot.ops.plan.report import as_json, make, show
from pivot.ops.plan.rules import notes, problems
from tests.unit.ops.plan.jobs import qwen

PLANNED = {
    # recipe: ranks, device, whether the policy is of this project's own families
    "demo": (2, "cpu", True),
    "smollm2_cpu": (2, "cpu", True),
    "qwen3_30b_tau2_4n": (32, "h100", True),
    "qwen3_30b_tau2_16n": (128, "h100", True),
    "qwen3_30b_swe": (128, "h100", True),
    "qwen3_30b_terminal": (32, "h100", True),
    "qwen3_30b_search": (32, "h100", True),
    "nemotron_super_swe": (512, "h100", False),
}


def test_every_recipe_that_trains_on_pivots_is_planned() -> None:
    assert set(PLANNED) == set(recipes()) - {"pretrain"}


@pytest.mark.parametrize("recipe", PLANNED)
def test_a_recipe_fits_the_device_that_it_names(recipe: str) -> None:
    config = load(recipe, [])
    asked = job(config)
    world, gpu, own = PLANNED[recipe]
    assert (asked.world, config.plan.gpu, asked.own) == (world, gpu, own)
    plan = make(config.run.name, gpu, config.train.steps, asked, 0)
    assert plan.problems == ()
    assert plan.verdict.startswith("fits: ")
    assert plan.memory is not None
    assert max(plan.memory.totals) < 0.97 * plan.memory.capacity
    assert plan.step is not None
    assert plan.step.idle == 0  # no engine without a prompt
    assert 0.5 < plan.step.total < 1000


def test_the_command_prints_tables_and_a_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", "--config", "qwen3_30b_tau2_4n", "--layouts", "2"])
    assert left.value.code == 0
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert lines[0].startswith("qwen3_30b_tau2_4n: Qwen3-30B-A3B-Thinking-2507, 30.5 B parameters, 3.35 B of a token")
    assert lines[-1].startswith("fits: ")
    assert sum("h100" in line for line in lines) == 2
    assert any("4 key/value heads do not divide by parallel.tensor = 8" in line for line in lines)


def test_what_does_not_fit_ends_with_status_1_and_a_layout_that_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", "--config", "qwen3_30b_tau2_4n", "parallel.expert=1", "parallel.tensor=1"])
    assert left.value.code == 1
    last = capsys.readouterr().out.rstrip().splitlines()[-1]
    assert last.startswith("does not fit: out of memory by ")
    assert "while training (largest: gradients " in last
    assert "; fastest layout that fits: parallel.tensor=" in last


def test_a_mistake_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plan", "--config", "demo", "model.path=models/Nobody-1B"])
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith("pivot: model.path=models/Nobody-1B: no checkpoint is there")


def test_json_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["plan", "--config", "qwen3_30b_swe", "--gpu", "h200", "--layouts", "3", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["fits"], found["gpu"], found["ranks"]) == (True, "h200", 128)
    memory = found["memory"]
    for state, total in memory["together"].items():
        assert total == sum(part[state] for part in memory["parts"].values()) <= memory["capacity"] == 140 * GIB
    seconds = found["seconds"]
    assert seconds.pop("together") == pytest.approx(sum(seconds.values()))
    assert len(found["layouts"]) == 3
    assert found["assumed"]["device"]["hbm"] == DEVICES["h200"].hbm


@pytest.mark.parametrize(
    ("layout", "world", "said"),
    [
        (Layout(tensor=3), 33, "32 attention heads do not divide by parallel.tensor = 3"),
        (Layout(tensor=8), 32, "4 key/value heads do not divide by parallel.tensor = 8"),
        (Layout(pipeline=5), 40, "48 layers do not divide by parallel.pipeline = 5"),
        (Layout(expert=64), 32, "32 ranks do not divide by expert_tensor 1 x expert 64 x pipeline 1 = 64"),
        (Layout(tensor=2, sequence=False), 32, "an MoE under tensor parallelism needs it"),
    ],
)
def test_a_layout_that_cannot_be_is_said_with_the_arithmetic(layout: Layout, world: int, said: str) -> None:
    assert any(said in problem for problem in problems(qwen(world, layout)))


def test_engines_that_cannot_be() -> None:
    plain = qwen(32, Layout(expert=8))
    small = replace(plain, engines=replace(plain.engines, cache=GIB // 2, context=131072))
    [said] = problems(small)
    assert said == (
        "rollout.kv_cache_mb is 512: one sequence of rollout.max_model_len = 131072 tokens needs 12288, and the engine "
        "would refuse to start"
    )
    assert "32 ranks do not divide into engine replicas of rollout.tensor 3 ranks" in problems(
        plain.cut(plain.layout, 3, False)
    )[0]  # fmt: skip


def test_a_family_of_megatron_bridge_is_refused_what_it_does_not_get() -> None:
    config = load("nemotron_super_swe", ["parallel.context=2"])
    assert problems(job(config)) == [
        "parallel.context is set, which this project refuses for a family of Megatron-Bridge (nemotron_h)"
    ]
    assert any("has not run here" in note for note in notes(job(load("nemotron_super_swe", []))))


def test_a_key_that_would_be_enough_is_named() -> None:
    job = qwen(32, Layout(expert=8))
    assert memory(job).problem is not None
    assert remedies(job) == ["parallel.recompute=full"]
    again = qwen(32, Layout(expert=8), recompute="full")
    full = replace(again, engines=replace(again.engines, cache=20 * GIB))
    assert remedies(full) == ["rollout.kv_cache_mb=10240"]
    verdict = make("tight", "h100", 1, full, 0).verdict
    assert verdict.startswith("does not fit: out of memory by ")
    assert verdict.endswith("; it would with rollout.kv_cache_mb=10240")


def test_a_survey_tells_every_layout_apart() -> None:
    fits, refusals = survey(qwen(32, Layout(expert=8)))
    assert [fit.step.total for fit in fits] == pytest.approx(sorted(fit.step.total for fit in fits), rel=0.04)
    assert len({keys(fit.job) for fit in fits}) == len(fits)
    assert all(fit.memory.problem is None and not problems(fit.job) for fit in fits)
    assert {refusal.reason.split(" by ")[0] for refusal in refusals} >= {"out of memory"}
    assert all(refusal.count > 0 and "parallel.tensor=" in refusal.nearest for refusal in refusals)


def test_idle_engines_are_noted() -> None:
    assert notes(qwen(128, Layout(expert=8)))[0].startswith("64 of 128 engines have no prompt in a step of 64")


def test_a_plan_without_any_layout_says_so() -> None:
    asked = replace(qwen(8, Layout(expert=8)), device=replace(DEVICES["h100"], memory=4 * GIB))
    plan = make("none", "h100", 1, asked, 3)
    out = io.StringIO()
    show(plan, Console(file=out, width=160), 3)
    assert "no layout of these ranks fits" in out.getvalue()
    assert plan.verdict.startswith("does not fit: out of memory")
    assert as_json(plan, 3)["fits"] is False
