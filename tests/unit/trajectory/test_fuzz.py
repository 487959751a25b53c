"""Whatever a record holds, it is read or refused with a reason, and what is read can be written and read back."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pivot.trajectory import Candidate, Skip, Trajectory, candidates, from_row, to_row
from pivot.trajectory.convert import convert
from pivot.trajectory.detect import FORMATS, detect, format_named
from pivot.trajectory.messages import BadRecord
from pivot.trajectory.strict_json import BadJson, decode
from tests.unit.trajectory.formats import EXAMPLES
from tests.unit.trajectory.test_strict_json import VALUES

DEEP: Any = "deep"
for _ in range(60):
    DEEP = [DEEP]
JUNK: list[Any] = [
    None, True, False, 0, -1, 10**400, 1.5, "", " ", "x", "\x00", "null", "[1", '{"a": 1}', "{", "user", "tool",
    [], [[]], [None], {}, {"": None}, {"role": "assistant"}, {"type": "message"}, {"name": 7}, DEEP, {"text": []},
    ["c1"], {"id": {}}, "\u2028é\U0001f600", "a" * 5000, {"content": [{"type": "text", "text": 5}]},
]  # fmt: skip


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, item in inner for place in _places(item, (*path, key)))]


def mutated(record: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A copy with some values replaced, removed, swapped, doubled, renamed or wrapped."""
    copy: Any = json.loads(json.dumps(record))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        *path, key = rng.choice(_places(copy)[1:] or [("new",)])
        target = copy
        for step in path:
            target = target[step]
        kind = rng.randrange(6)
        if kind == 0:
            del target[key]
        elif kind == 1:
            target[key] = [target.get(key) if isinstance(target, dict) else target[key]] * 2
        elif kind == 2 and isinstance(target, dict):
            target[rng.choice(("role", "content", "x", "tool_calls", "kind", "action"))] = target.pop(key, None)
        elif kind == 3 and isinstance(target, list):
            rng.shuffle(target)
        elif kind == 4 and isinstance(target, dict) and isinstance(target.get(key), str):
            cut = rng.randrange(len(target[key]) + 1)
            target[key] = (
                target[key][:cut] + rng.choice(("", "\n", '"', "user: ")) + target[key][cut + rng.randrange(3) :]
            )
        else:
            target[key] = json.loads(json.dumps(rng.choice(JUNK)))
        if not isinstance(copy, dict) or not copy:
            return {}
    return dict(copy)


def _account(record: dict[str, Any], name: str | None) -> str:
    """Read, cut, write and read back; what became of it."""
    form = detect(record) if name is None else format_named(name)
    if form is None:
        return "unknown_format"
    try:
        parts = list(form.parts(record))
        items = [form.read(part, "dir/file.json:1", ()) for part in parts]
    except BadRecord as refused:
        error = refused
    else:
        error = None
    if error is not None:
        assert error.reason.isidentifier()
        assert "\n" not in error.detail
        assert error.detail.encode()
        return error.reason
    for item in items:
        turns = list(candidates(item)) if isinstance(item, Trajectory) else [item]
        if isinstance(item, Trajectory):
            assert len(turns) == sum(message["role"] == "assistant" for message in item.messages)
            assert len(item.left_out) < 20
        for turn in turns:
            assert isinstance(turn, Candidate | Skip)
            if isinstance(turn, Candidate):
                line = json.dumps(to_row(turn), ensure_ascii=False).encode()
                assert from_row(json.loads(line)) == turn
    return "read"


@pytest.mark.parametrize("name", [form.name for form in FORMATS])
@given(st.dictionaries(
    st.sampled_from(["messages", "tools", "traj", "history", "trajectory", "steps", "simulations", "info", "agent",
                     "schema_version", "responses_create_params", "response", "expected_action", "messages_display"]),
    VALUES, max_size=4))  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_object_is_read_or_refused_by_every_reader(name: str, record: dict[str, Any]) -> None:
    try:
        decode(json.dumps(record))
    except BadJson:
        return
    _account(record, name)
    _account(record, None)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_a_damaged_record_is_read_or_refused(number: int) -> None:
    _run(number, 100)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_twenty_thousand_damaged_records(number: int) -> None:
    _run(number, 20_000 // len(EXAMPLES) + 1)


def _run(number: int, count: int) -> None:
    name, record = EXAMPLES[number]
    rng = random.Random(number)
    became: Counter[str] = Counter()
    for _ in range(count):
        damaged = mutated(record, rng)
        became[_account(damaged, name)] += 1
        _account(damaged, None)
        _account(damaged, rng.choice(FORMATS).name)
    assert became["read"] > count // 20
    assert len(became) > 1


def test_a_file_of_damaged_records_converts(tmp_path: Path) -> None:
    rng = random.Random(7)
    lines = []
    for _ in range(600):
        line = json.dumps(mutated(rng.choice(EXAMPLES)[1], rng)).encode()
        if rng.random() < 0.2:  # bytes, too
            place = rng.randrange(len(line))
            line = line[:place] + rng.randbytes(rng.randrange(3)).replace(b"\n", b"") + line[place + 1 :]
        lines.append(line)
    source = tmp_path / "damaged.jsonl"
    source.write_bytes(b"\n".join(lines))
    report = convert([source], tmp_path / "out", validation=0.3, split="task")
    assert report.records == report.trajectories + report.rows + report.bad_rows.total()
    assert report.records >= 600
    assert report.turns == report.candidates + report.skipped.total()
    assert report.candidates > 200
    assert report.bad_rows.total() > 100
    notes = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert len(notes) == report.bad_rows.total() + report.skipped.total()
