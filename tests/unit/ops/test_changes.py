"""What may change between two starts of a run, and what is refused."""

from pathlib import Path

import pytest

from pivot.config import load, save
from pivot.errors import UserError
from pivot.ops.changes import changes, check


def found(recipe: str, before: list[str], after: list[str]) -> list[str]:
    return [str(change) for change in changes(recipe, load("demo", before), load("demo", after))]


def test_every_key_with_both_values() -> None:
    assert found("train", [], []) == []
    assert found("train", [], ["optimizer.lr=2e-4", "data.limit=9", "model.freeze_router=false"]) == [
        "model.freeze_router true -> false",
        "data.limit null -> 9",
        "optimizer.lr 0.00015 -> 0.0002",
    ]
    assert found("train", ["verify.domains.swe=exact"], ["verify.domains.swe=message"]) == [
        "verify.domains.swe exact -> message"
    ]
    assert found("train", [], ["parallel.ranks=4", "parallel.tensor=1"]) == [
        "parallel.ranks 2 -> 4",
        "parallel.tensor 2 -> 1",
    ]


def test_what_computes_nothing_else_is_free() -> None:
    free = ["run.dir=x", "run.name=y", "train.checkpoint_every=1", "train.keep_checkpoints=9",
            "train.checkpoint_async=false", "cluster.nodes=3", "mine.wave=1", "evaluate.tasks=1",
            "data.candidates=c"]  # fmt: skip
    assert found("train", [], free) == []
    assert found("sft", [], [*free[:-1], "grpo.clip_low=0.1"]) == []


@pytest.mark.parametrize(
    ("recipe", "schedule", "steps", "refused"),
    [
        ("train", [], 61, False),
        ("train", [], 59, True),
        ("train", ["optimizer.schedule=cosine"], 61, True),  # the learning rate of every step would be another
        ("sft", [], 61, True),
    ],
)
def test_more_steps_are_free_where_no_step_looks_at_the_end(
    recipe: str, schedule: list[str], steps: int, refused: bool
) -> None:
    said = found(recipe, schedule, [*schedule, f"train.steps={steps}"])
    assert said == ([f"train.steps 60 -> {steps}"] if refused else [])


def test_only_checkpoints_bind(tmp_path: Path) -> None:
    before, after = load("demo", []), load("demo", ["optimizer.lr=2e-4"])
    save(before, tmp_path / "train.yaml")
    check("train", after, tmp_path)
    (tmp_path / "checkpoints" / "step-1").mkdir(parents=True)
    check("train", before, tmp_path)
    check("mine", after, tmp_path)  # profiles have a check of their own
    with pytest.raises(UserError) as caught:
        check("train", after, tmp_path)
    assert str(caught.value) == (
        f"{tmp_path} has checkpoints of another configuration: optimizer.lr 0.00015 -> 0.0002; "
        "go on with --accept, or start anew in another run.dir"
    )


def test_a_configuration_that_is_no_longer_read(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "step-1").mkdir(parents=True)
    (tmp_path / "train.yaml").write_text("train:\n  stepz: 1\n")
    with pytest.raises(UserError, match=r"cannot be read any more \(unknown configuration key 'train.stepz'"):
        check("train", load("demo", []), tmp_path)
