"""Held-out trajectories: chosen by hash, whole, and told in the report."""

import json
from pathlib import Path
from typing import Any

import pytest

from pivot.errors import UserError
from pivot.trajectory import Action, Message, load_candidates
from pivot.trajectory.convert import convert
from pivot.trajectory.identity import HistoryHash, opening_id
from pivot.trajectory.messages import action_of, read_messages
from pivot.trajectory.split import is_validation
from tests.unit.trajectory.examples import call


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


SYSTEM = {"role": "system", "content": "Policy."}


def _episode(number: int, turns: int, thought: str = "") -> list[dict[str, Any]]:
    """Turns of a conversation that a scripted greeting, the same for all, begins."""
    messages: list[dict[str, Any]] = [SYSTEM, {"role": "assistant", "content": "Hi! How can I help?"}]
    for turn in range(turns):
        made = call("look", {"turn": turn}, f"{number}-{turn}")
        messages += [
            {"role": "user", "content": f"request {number}, {turn}"},
            {"role": "assistant", "content": thought or None, "tool_calls": [made]},
            {"role": "tool", "tool_call_id": f"{number}-{turn}", "content": "seen"},
        ]
    return messages


def _after_user(messages: tuple[Message, ...], expected: Action) -> tuple[str | None, set[str]]:
    """The action with its history as one id, if a user spoke before it, and the ids of all such actions before it."""
    history, found, asked = HistoryHash(()), set(), False
    for message in messages:
        if message["role"] == "assistant" and asked:
            found.add(history.candidate_id(_calls_or_text(action_of(message))))
        asked = asked or message["role"] == "user"
        history.add(message if "tool_calls" not in message else message | {"content": None})
    return (history.candidate_id(_calls_or_text(expected)) if asked else None), found


def _calls_or_text(action: Action) -> Action:
    return Action(None if action.calls else action.content, action.calls)


def _leaks(out: Path) -> tuple[int, int]:
    """How many actions of either side stand in a history, or as an action, of the other one."""
    actions: list[set[str]] = []
    histories: list[set[str]] = []
    for name in ("candidates.jsonl", "validation.jsonl"):
        seen = [_after_user(c.messages, c.expected) for c in load_candidates(out / name)]
        actions.append({one for one, _ in seen if one is not None})
        histories.append({one for _, before in seen for one in before})
    assert all(actions)
    assert all(histories)
    train, held_out = actions
    return len(train & (held_out | histories[1])), len(held_out & (train | histories[0]))


def _write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("named", [False, True])
def test_the_same_conversation_up_to_other_turns_is_on_the_same_side(tmp_path: Path, named: bool) -> None:
    def records(turns: int) -> list[dict[str, Any]]:
        name = (lambda number: {"id": f"{number}-{turns}"}) if named else (lambda number: {})
        return [{"messages": _episode(number, turns), **name(number)} for number in range(30)]

    files = [_write(tmp_path / f"{turns}.jsonl", records(turns)) for turns in (1, 4, 2)]
    report = convert(files, tmp_path / "out", validation=0.4)
    assert _leaks(tmp_path / "out") == (0, 0)
    assert report.skipped == {"duplicate": 89 + 3 * 30}  # greetings, and the shorter ones' turns
    assert 20 < report.validation < 80
    again = convert(files, tmp_path / "again", validation=0.4)
    assert again.validation == report.validation


def test_rows_that_were_cut_elsewhere_are_split_by_the_conversation_they_come_from(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", [{"messages": _episode(number, 4, "Let me see.")} for number in range(30)])
    convert([source], tmp_path / "ours")
    rows = [json.loads(line) for line in (tmp_path / "ours" / "candidates.jsonl").read_text().splitlines()]
    for number, row in enumerate(rows):
        del row["pivot"]  # and with it the text beside the call
        row["uuid"] = f"row-{number}"
    report = convert([_write(tmp_path / "rows.jsonl", rows), source], tmp_path / "out", validation=0.4)
    assert report.rows == 121
    assert _leaks(tmp_path / "out") == (0, 0)


def test_a_trajectory_that_belongs_to_both_sides_is_left_out_and_counted(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(50)]
    train, held_out = (next(n for n in names if is_validation(n, 0.5) is side) for side in (False, True))
    records = [
        {"id": train, "messages": _episode(0, 1)},
        {"id": held_out, "messages": _episode(1, 1)},
        {"id": held_out, "messages": _episode(0, 2)},
    ]
    report = convert([_write(tmp_path / "in.jsonl", records)], tmp_path / "out", validation=0.5)
    assert (report.candidates, report.skipped) == (3, {"duplicate": 1, "on_both_sides": 3})
    assert _names(tmp_path / "out") == ({train}, {held_out})


def _names(out: Path) -> tuple[set[str], set[str]]:
    train, held_out = (
        {c.trajectory_id for c in load_candidates(out / name)} for name in ("candidates.jsonl", "validation.jsonl")
    )
    return train, held_out


def test_without_validation_nothing_of_an_earlier_split_is_left(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", [{"messages": _episode(number, 2)} for number in range(20)])
    convert([source], tmp_path / "out", validation=0.5)
    assert (tmp_path / "out" / "validation.jsonl").exists()
    report = convert([source], tmp_path / "out")
    assert report.candidates == 41
    assert not (tmp_path / "out" / "validation.jsonl").exists()


def test_what_begins_a_conversation_is_known_of_a_trajectory_and_of_each_of_its_rows() -> None:
    messages = read_messages(_episode(3, 3))
    openings = {
        opening_id(messages[:index], action_of(message))
        for index, message in enumerate(messages)
        if message["role"] == "assistant" and index > 1
    }
    assert openings == {opening_id(messages)}
    assert opening_id(messages) != opening_id(read_messages(_episode(4, 3)))
    assert opening_id(messages[:1], Action("Hi!")) is None  # nobody has asked
    assert opening_id(messages[:3]) is None
