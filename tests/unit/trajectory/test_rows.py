"""Rows interoperate with NeMo-Gym's single-step contract both ways."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from pivot.errors import UserError
from pivot.trajectory import (
    Action,
    Candidate,
    ToolCall,
    Trajectory,
    candidates,
    from_row,
    load_candidates,
    to_row,
)
from pivot.trajectory.identity import candidate_id
from pivot.trajectory.messages import BadRecord
from pivot.trajectory.rows import domain_of, is_cut
from tests.unit.trajectory.examples import TRAJECTORIES, weather_trajectory

DATA = Path(__file__).parent / "data"
GYM = Path(__file__).resolve().parents[4] / "shared" / "data" / "nemo_gym"


def _first() -> Candidate:
    item = next(iter(candidates(weather_trajectory())))
    assert isinstance(item, Candidate)
    return item


@given(TRAJECTORIES)
def test_a_candidate_reads_back_from_its_row_as_it_was(trajectory: Trajectory) -> None:
    for item in candidates(trajectory):
        if isinstance(item, Candidate):
            row = json.loads(json.dumps(to_row(item)))
            assert from_row(row) == item
            assert [list(tool["function"]) for tool in from_row(row).tools] == [
                list(tool["function"]) for tool in item.tools
            ]


def test_the_row_of_a_call_has_the_contract_fields() -> None:
    candidate = _first()
    assert to_row(candidate, {"mean": 0.5}) == {
        "responses_create_params": {
            "input": [
                {"type": "message", "role": "system", "content": "You help with the weather."},
                {"type": "message", "role": "user", "content": "How is Oslo?"},
            ],
            "tools": [
                {
                    "type": "function",
                    "name": "get_weather",
                    "description": "Weather of a city.",
                    "parameters": candidate.tools[0]["function"]["parameters"],
                    "strict": None,
                }
            ],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
        },
        "expected_action": {"type": "function_call", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
        "agent_ref": {
            "type": "responses_api_agents",
            "name": "single_step_tool_use_with_argument_comparison_agent",
        },
        "pivot": {
            "candidate_id": candidate.candidate_id,
            "trajectory_id": "weather",
            "turn": 0,
            "turns": 2,
            "domain": "tool_use",
            "success": True,
            "source": "weather.jsonl:1",
            "profile": {"mean": 0.5},
        },
    }


def test_calls_and_results_become_items() -> None:
    *_, last = candidates(weather_trajectory())
    assert isinstance(last, Candidate)
    assert to_row(last)["responses_create_params"]["input"][2:] == [
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city": "Oslo"}'},
        {"type": "function_call_output", "call_id": "c1", "output": '{"sky": "clear"}'},
    ]
    assert to_row(last)["expected_action"] == {"type": "message", "content": "It is clear in Oslo."}


def test_parallel_calls_become_a_batch() -> None:
    row = to_row(_first())
    calls = [{"type": "function_call", "name": n, "arguments": "{}"} for n in "fg"]
    row["expected_action"] = {"type": "function_call_batch", "calls": calls}
    del row["pivot"]["candidate_id"]
    candidate = from_row(row)
    assert candidate.expected == Action(None, (ToolCall("f", "{}"), ToolCall("g", "{}")))
    assert to_row(candidate)["expected_action"] == row["expected_action"]


def test_the_input_does_not_depend_on_the_expected_action() -> None:
    row = to_row(_first())
    other = json.loads(json.dumps(row))
    other["expected_action"] = {"type": "message", "content": "Which city?"}
    del other["pivot"]["candidate_id"]
    assert to_row(from_row(other))["responses_create_params"] == row["responses_create_params"]


def _changed(**changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(json.dumps(to_row(_first())))
    return row | changes


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no_responses_create_params"),
        (_changed(responses_create_params={"input": []}), "no_history"),
        (_changed(responses_create_params={"input": 5}), "bad_input"),
        (_changed(responses_create_params={"input": [{"type": "image", "data": ""}]}), "unknown_item"),
        (_changed(responses_create_params={"input": [{"type": ["x"]}]}), "unknown_item"),
        (_changed(expected_action=None), "no_expected_action"),
        (_changed(expected_action=None, expected_answer=""), "no_expected_action"),
        (_changed(expected_action=None, expected_answer=5), "no_expected_action"),
        (_changed(expected_action={"type": "dance"}), "no_expected_action"),
        (_changed(expected_action={"type": "function_call_batch", "calls": []}), "bad_expected_action"),
        (
            _changed(expected_action={"type": "function_call", "name": "f", "arguments": {}}),
            "bad_expected_action",
        ),
        (
            _changed(expected_action={"type": "function_call", "name": "f", "arguments": "{"}),
            "broken_arguments",
        ),
        (_changed(expected_action={"type": "message", "content": " "}), "empty_action"),
        (_changed(expected_action={"type": "message", "content": "other"}), "changed"),
        (_changed(pivot={"spans": [1]}), "bad_spans"),
        (_changed(pivot={"spans": [0, 2]}), "bad_spans"),
    ],
)
def test_bad_rows_name_their_reason(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        from_row(row)
    assert caught.value.reason == reason


def test_loading_names_file_line_and_fix(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(to_row(_first())) + "\n{}\n")
    rows = load_candidates(path)
    assert next(rows) == _first()
    with pytest.raises(UserError, match=r"rows\.jsonl:2: no_responses_create_params.*pivot convert"):
        next(rows)
    path.write_text("nonsense\n")
    with pytest.raises(UserError, match=r"rows\.jsonl:1: not_json"):
        list(load_candidates(path))
    path.write_text("\n")
    with pytest.raises(UserError, match="no rows"):
        list(load_candidates(path))
    with pytest.raises(UserError, match="no such file"):
        list(load_candidates(tmp_path / "absent.jsonl"))


def _gym_rows() -> list[dict[str, Any]]:
    """The rows that somebody else made: our own examples of their forms, and NeMo-Gym's where they are at hand."""
    files = [DATA / "gym_rows.jsonl", *(sorted(GYM.glob("*.jsonl")) if GYM.is_dir() else [])]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_rows_of_others_are_written_back_as_they_were() -> None:
    rows = [row for row in _gym_rows() if is_cut(row)]
    assert len(rows) == (36 if GYM.is_dir() else 6)
    for row in rows:
        candidate = from_row(row)
        written = json.loads(json.dumps(to_row(candidate, {"mean": 0.5})))
        assert written.pop("pivot")["profile"] == {"mean": 0.5}
        if "agent_ref" not in row:
            assert written.pop("agent_ref")["type"] == "responses_api_agents"
        assert json.dumps(written) == json.dumps(row)
        assert from_row(json.loads(json.dumps(to_row(candidate)))) == candidate


def test_real_gym_rows_are_at_hand() -> None:
    if not GYM.is_dir():
        pytest.skip(f"no NeMo-Gym example rows at {GYM}")
    assert len(_gym_rows()) == 41


def test_history_of_real_rows_survives_in_order() -> None:
    for row in _gym_rows():
        if not is_cut(row) or isinstance(row["responses_create_params"]["input"], str):
            continue
        plain = replace(from_row(row), extra={})  # written from the messages, not from the row
        assert _texts(to_row(plain)) == _texts(row)
        names = [tool["name"] for tool in row["responses_create_params"].get("tools", [])]
        assert [tool["name"] for tool in to_row(plain)["responses_create_params"]["tools"]] == names
        assert from_row(json.loads(json.dumps(to_row(plain)))) == plain


def test_fields_that_others_add_to_our_rows_stay() -> None:
    row = to_row(_first()) | {"uuid": "u-1", "metadata": {"a": [1]}, "reward": 0.5}
    candidate = from_row(row)
    assert candidate.extra == {"uuid": "u-1", "metadata": {"a": [1]}, "reward": 0.5}
    assert to_row(candidate) == row


def test_a_terminal_row_also_has_the_answer_that_its_agent_reads() -> None:
    text = '{"analysis": "a", "plan": "p", "commands": []}'
    candidate = replace(_first(), domain="terminal", expected=Action(text))
    row = to_row(replace(candidate, candidate_id=candidate_id(candidate.messages, candidate.tools, candidate.expected)))
    assert row["expected_answer"] == row["expected_action"]["content"] == text
    assert row["agent_ref"]["name"] == "terminus_judge_simple_agent"
    assert to_row(from_row(row)) == row


@pytest.mark.parametrize(
    ("row", "domain"),
    [
        ({"agent_ref": {"name": "swe_pivot_tool_simulation_agent"}}, "swe"),
        ({"agent_ref": {"name": "terminus_judge_simple_agent"}}, "terminal"),
        ({"agent_ref": {"name": "browsecomp_agent"}}, "search"),
        ({"expected_answer": "{}"}, "terminal"),
        ({"domain": "mine", "expected_answer": "{}"}, "mine"),
        ({"agent_ref": "x"}, "tool_use"),
    ],
)
def test_the_domain_of_a_row_that_does_not_name_it(row: dict[str, Any], domain: str) -> None:
    assert domain_of(row) == domain


def _texts(row: dict[str, Any]) -> list[tuple[str, ...]]:
    texts: list[tuple[str, ...]] = []
    for item in row["responses_create_params"]["input"]:
        if item.get("type") == "function_call":
            texts.append((item["call_id"], item["name"], item["arguments"]))
        elif item.get("type") == "function_call_output":
            texts.append((item["call_id"], item["output"]))
        elif item.get("type") == "reasoning":
            texts.append(("reasoning", "\n".join(part["text"] for part in item["summary"] or item["content"])))
        else:
            content = item["content"]
            texts.append((item["role"], content if isinstance(content, str) else content[0]["text"]))
    return texts
