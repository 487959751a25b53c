"""Stored rollouts scored again: `pivot verify`."""

import json
from pathlib import Path
from typing import Any

import pytest

from pivot.cli import main
from pivot.errors import UserError
from pivot.trajectory.records import BadRow
from pivot.verify import build
from pivot.verify.build import Verifiers
from pivot.verify.stored import Stored, parse_specs, read_stored, score

GYM = Path(__file__).resolve().parents[4] / "shared" / "data" / "nemo_gym"
ASK = {
    "input": [{"role": "user", "content": "Book Oslo."}],
    "tools": [{"type": "function", "name": "book", "parameters": None}],
}
OSLO = {"type": "function_call", "name": "book", "arguments": '{"city": "Oslo"}'}


def row(output: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"responses_create_params": ASK, "expected_action": OSLO}
    return base | ({} if output is None else {"response": {"output": output}}) | more


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in rows))
    return path


def rollouts(path: Path) -> list[Stored | BadRow]:
    return list(read_stored([path]))


def test_rollouts_are_read_from_output_items_and_completions(tmp_path: Path) -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Booked."}]}
    completion = '<tool_call>{"name": "book", "arguments": {"city": "Rome"}}</tool_call>'
    rows = [
        row([{"type": "reasoning", "summary": []}, said, OSLO, OSLO], reward=1.0),
        row(completion=completion, reward=0),
        row([], reward=True),
    ]
    both, text, nothing = rollouts(write(tmp_path / "a.jsonl", rows))
    assert isinstance(both, Stored)
    assert isinstance(text, Stored)
    assert isinstance(nothing, Stored)
    assert (both.actual.content, len(both.actual.calls), both.reward) == ("Booked.", 2, 1.0)
    assert both.actual.calls[0].arguments == OSLO["arguments"]
    assert (json.loads(text.actual.calls[0].arguments), text.reward) == ({"city": "Rome"}, 0.0)
    assert (nothing.actual.content, nothing.actual.calls, nothing.reward) == (None, (), None)
    assert both.source.endswith("a.jsonl:1")
    assert both.domain == "tool_use"


def test_a_terminals_completion_is_its_text(tmp_path: Path) -> None:
    answer = '{"analysis": "a", "plan": "b", "commands": []}'
    rows = [
        {"responses_create_params": ASK, "expected_answer": answer, "completion": f"<think>x</think>{answer}"},
        {"responses_create_params": ASK, "expected_answer": answer, "completion": "<think>for ever"},
    ]
    done, thinking = rollouts(write(tmp_path / "a.jsonl", rows))
    assert isinstance(done, Stored)
    assert isinstance(thinking, Stored)
    assert (done.actual.content, done.domain) == (answer, "terminal")
    assert thinking.actual.malformed == "unclosed_think"


def test_a_rollout_finds_its_experts_action_by_uuid(tmp_path: Path) -> None:
    rows = [
        row(uuid="one"),
        {"responses_create_params": ASK, "uuid": "one", "response": {"output": [OSLO]}, "expected_answer": ""},
        {"responses_create_params": ASK, "uuid": "two", "response": {"output": [OSLO]}},
        row([{"type": "web_search_call"}]),
        "{broken",
    ]
    found, missing, odd, broken = rollouts(write(tmp_path / "a.jsonl", rows))
    assert isinstance(found, Stored)
    assert found.expected.calls == found.actual.calls
    assert [bad.reason for bad in (missing, odd, broken) if isinstance(bad, BadRow)] == [
        "no_expected_action", "bad_item", "not_json",
    ]  # fmt: skip


def test_rewards_reasons_and_disagreements_are_counted(tmp_path: Path) -> None:
    rome = OSLO | {"arguments": '{"city": "Rome"}'}
    rows = [row([OSLO], reward=1), row([OSLO], reward=0), row([rome], reward=0.0), row([rome]), "[]"]
    out = tmp_path / "verdicts.jsonl"
    verifiers = {"exact": Verifiers({}, build("exact")), "gym": Verifiers({}, build("tool_call:gym"))}
    tallies, unread = score(read_stored([write(tmp_path / "a.jsonl", rows)]), verifiers, out)
    tally = tallies["gym"]
    assert (tally.scored, tally.total, tally.compared, tally.agreed) == (4, 2.0, 3, 2)
    assert tally.reasons == {"match": 2, "arguments_mismatch": 2}
    assert [(source.rsplit(":", 1)[1], stored) for source, stored, _ in tally.disagreements] == [("2", 0.0)]
    assert unread == {"not_object": 1}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 8
    assert lines[1] | {"source": ""} == {
        "source": "", "verifier": "gym", "stored_reward": 1.0, "reward": 1.0, "reason": "match", "detail": "",
        "used": [], "status": "decided",
    }  # fmt: skip


def test_verifiers_are_named_or_written_as_json() -> None:
    found = parse_specs(["exact", '{"name": "tool_call", "parallel": "f1"}'])
    assert [verifiers.of("any").name for verifiers in found.values()] == ["exact", "tool_call"]
    for text, said in (
        ("exat", "--verifier: unknown verifier 'exat'"),
        ("{", "--verifier '{': not_json; write a name"),
    ):
        with pytest.raises(UserError, match=said):
            parse_specs([text])


def test_the_command_prints_a_table_and_names_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.jsonl", [row([OSLO], reward=0)])
    main(["verify", str(path), "--verifier", "tool_call:gym", "--out", str(tmp_path / "o.jsonl")])
    shown = capsys.readouterr().out
    assert "tool_call:gym" in shown
    assert "0 of 1" in shown
    assert f"{path}:1: stored 0, now 1 (match)" in shown
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 1
    for arguments, said in (
        ([str(tmp_path / "none.jsonl")], "no such file"),
        ([str(write(tmp_path / "b.jsonl", [row()]))], "no rollout to score (no row has an action)"),
        ([str(path), "--out", str(tmp_path / "no" / "o.jsonl")], "cannot be written"),
        ([str(path), "--verifier", "tool_call:nope"], "has no preset 'nope'"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(["verify", *arguments])
        assert caught.value.code == 2
        assert said in capsys.readouterr().err


def test_gym_gives_every_stored_reward_of_the_published_rollouts() -> None:
    files = sorted(GYM.glob("single_step*_rollouts.jsonl"))
    if not files:
        pytest.skip(f"no published rollouts in {GYM}")
    tallies, unread = score(read_stored(files), parse_specs(["tool_call:gym"]), None)
    assert not unread
    assert tallies["tool_call:gym"].compared == tallies["tool_call:gym"].agreed == 5
