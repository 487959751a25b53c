"""What the smoke runs: the recipe's layout, scaled down."""

from dataclasses import replace

import pytest

from pivot.config import Config, ParallelSection, RolloutSection, load
from pivot.layout import layout
from pivot.ops.doctor.smoke import ranks_of, scaled, settings, variables
from pivot.precision import Precision
from pivot.rollout import placement


@pytest.mark.parametrize(("asked", "devices", "ranks"), [(1, 0, 1), (2, 0, 2), (128, 0, 2), (8, 8, 8), (7, 8, 6),
                                                         (16, 8, 8), (8, 1, 1)])  # fmt: skip
def test_ranks(asked: int, devices: int, ranks: int) -> None:
    assert ranks_of(ParallelSection(ranks=asked), devices) == ranks


@pytest.mark.parametrize(
    ("parallel", "rollout", "cut"),
    [
        (ParallelSection(), RolloutSection(), (1, 1, 1, 1, 1, 1)),
        (ParallelSection(tensor=8, expert=8), RolloutSection(tensor=4, expert_parallel=True), (2, 1, 1, 2, 1, 2)),
        (ParallelSection(tensor=4, pipeline=4, expert=4), RolloutSection(), (2, 1, 1, 2, 1, 1)),
        (ParallelSection(pipeline=4, expert=4), RolloutSection(), (1, 2, 1, 1, 1, 1)),
        (ParallelSection(context=16), RolloutSection(), (1, 1, 2, 1, 1, 1)),
        (ParallelSection(tensor=2, expert_tensor=2), RolloutSection(), (2, 1, 1, 1, 2, 1)),
    ],
)  # fmt: skip
def test_a_layout_on_two_ranks(parallel: ParallelSection, rollout: RolloutSection, cut: tuple[int, ...]) -> None:
    found = scaled(parallel, rollout, 2)
    names = ("tensor", "pipeline", "context", "expert", "expert_tensor")
    assert (*(found[f"parallel.{name}"] for name in names), found["rollout.tensor"]) == cut
    assert set(scaled(parallel, rollout, 1).values()) <= {1, False}


def test_the_settings_are_a_configuration_that_fits() -> None:
    config = replace(Config(), parallel=ParallelSection(ranks=128, tensor=4, expert=8, pipeline=4),
                     rollout=RolloutSection(tensor=8, sleep_level=1))  # fmt: skip
    small = load(None, settings(config, 0))
    layout(small.parallel).check(small.parallel.ranks)
    placement.check(2, tensor=small.rollout.tensor, expert_parallel=small.rollout.expert_parallel)
    assert (small.parallel.ranks, small.parallel.tensor, small.rollout.tensor, small.train.steps) == (2, 2, 2, 1)
    assert (small.model.dtype, small.train.keep_best, small.precision.fp8) == ("float32", None, None)


def test_on_cuda_the_recipes_types() -> None:
    config = replace(Config(), model=replace(Config().model, dtype="bfloat16"), precision=Precision(fp8="blockwise"),
                     train=replace(Config().train, probe_limit=1.0), parallel=ParallelSection(ranks=8))  # fmt: skip
    small = load(None, settings(config, 8))
    assert (small.model.dtype, small.precision.fp8, small.train.probe_limit) == ("bfloat16", "blockwise", 1.0)
    assert (small.parallel.ranks, small.train.prompts_per_step) == (8, 16)


def test_ranks_of_a_launcher_around_us_are_not_ours() -> None:
    own = {"SLURM_NTASKS": "16", "RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "16", "MASTER_ADDR": "n1", "PATH": "/b",
           "RANKING": "1", "PIVOT_ATTEMPT_DIR": "x", "PMIX_RANK": "0", "PYTHONPATH": "p"}  # fmt: skip
    assert variables(own) == {"PATH": "/b", "RANKING": "1", "PYTHONPATH": "p"}
