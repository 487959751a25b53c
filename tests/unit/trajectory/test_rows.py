"""Rows interoperate with NeMo-Gym's single-step contract both ways."""

import json
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
from pivot.trajectory.messages import BadRecord
from tests.unit.trajectory.examples import TRAJECTORIES, weather_trajectory

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
    if not GYM.is_dir():
        pytest.skip(f"no NeMo-Gym example rows at {GYM}")
    files = [*sorted(GYM.glob("*tool*.jsonl")), GYM / "swe_pivot__example.jsonl"]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_real_gym_rows_are_read_and_written_back() -> None:
    rows = _gym_rows()
    assert len(rows) == 20
    for row in rows:
        candidate = from_row(row)
        written = json.loads(json.dumps(to_row(candidate)))
        assert from_row(written) == candidate
        assert written["expected_action"] == row["expected_action"]
        names = [tool["name"] for tool in row["responses_create_params"].get("tools", [])]
        assert [tool["name"] for tool in written["responses_create_params"]["tools"]] == names
        # Every call, result and text of the history survives, in order.
        assert _texts(written) == _texts(row)


def _texts(row: dict[str, Any]) -> list[tuple[str, ...]]:
    texts: list[tuple[str, ...]] = []
    for item in row["responses_create_params"]["input"]:
        if item.get("type") == "function_call":
            texts.append((item["call_id"], item["name"], item["arguments"]))
        elif item.get("type") == "function_call_output":
            texts.append((item["call_id"], item["output"]))
        elif item.get("type") == "reasoning":
            texts.append(("reasoning", "\n".join(part["text"] for part in item["summary"])))
        else:
            content = item["content"]
            texts.append((item["role"], content if isinstance(content, str) else content[0]["text"]))
    return texts
