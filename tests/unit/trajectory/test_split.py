"""Held-out trajectories: chosen by hash, whole, and told in the report."""

import json
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.trajectory.convert import convert
from pivot.trajectory.split import is_validation


def test_the_choice_depends_on_the_id_alone_and_grows_with_the_share() -> None:
    ids = [f"t{number}" for number in range(2000)]
    few, many = ({i for i in ids if is_validation(i, share)} for share in (0.1, 0.5))
    assert few < many
    assert 140 < len(few) < 260
    assert 900 < len(many) < 1100
    assert not any(is_validation(i, 0.0) for i in ids)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UserError, match="validation fraction"):
        is_validation("t", share)


def test_a_trajectory_is_held_out_whole(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Yes."}]
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"I am {number}."},
                {"role": "assistant", "content": "Hello?"},
                *turns,
            ]
        }
        for number in range(40)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = convert([source], tmp_path / "out", validation=0.3)
    train, held_out = (
        [json.loads(line)["pivot"]["trajectory_id"] for line in (tmp_path / "out" / name).read_text().splitlines()]
        for name in ("candidates.jsonl", "validation.jsonl")
    )
    assert len(train) + len(held_out) == report.candidates == 80
    assert len(held_out) == report.validation > 0
    assert not set(train) & set(held_out)


def test_trials_of_a_task_are_held_out_together(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    rows = [
        {
            "messages": [{"role": "user", "content": f"{task} {trial}"}, {"role": "assistant", "content": "Hello?"}],
            **({"task_id": task} if task else {}),
        }
        for task in range(30)
        for trial in range(4)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def sides(split: str) -> tuple[set[str], set[str]]:
        report = convert([source], tmp_path / split, validation=0.4, split=split)
        assert report.without_task == (4 if split == "task" else 0)
        assert json.loads((tmp_path / split / "report.json").read_text())["split"] == split
        train, held_out = (
            {json.loads(line)["pivot"].get("task_id") for line in (tmp_path / split / name).read_text().splitlines()}
            for name in ("candidates.jsonl", "validation.jsonl")
        )
        return train - {None}, held_out - {None}

    train, held_out = sides("task")
    assert len(train) + len(held_out) == 29
    assert held_out
    mixed = sides("trajectory")
    assert mixed[0] & mixed[1]
