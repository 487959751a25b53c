"""Each format's records become the trajectories that they stand for."""

import json
from typing import Any

import pytest

from pivot.trajectory import Candidate, Skip, Trajectory, candidates, from_row, to_row
from pivot.trajectory.detect import FORMATS, detect
from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import BadRecord
from tests.unit.trajectory import formats
from tests.unit.trajectory.examples import RAW, WEATHER_TOOL, call
from tests.unit.trajectory.formats import EXAMPLES, read, shown, trajectory


@pytest.mark.parametrize(("name", "record"), EXAMPLES)
def test_a_record_is_told_by_its_shape(name: str, record: dict[str, Any]) -> None:
    form = detect(record)
    assert form is not None
    assert form.name == name


def test_every_format_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == {form.name for form in FORMATS}


@pytest.mark.parametrize(("name", "record"), EXAMPLES)
def test_every_turn_is_a_candidate_or_a_skip_and_every_row_reads_back(name: str, record: dict[str, Any]) -> None:
    for item in read(name, record):
        turns = list(candidates(item)) if isinstance(item, Trajectory) else [item]
        if isinstance(item, Trajectory):
            assert len(turns) == sum(message["role"] == "assistant" for message in item.messages)
        for turn in turns:
            if isinstance(turn, Candidate):
                assert from_row(json.loads(json.dumps(to_row(turn)))) == turn


def _skips(item: Trajectory) -> list[tuple[int, str]]:
    return [(turn.turn, turn.reason) for turn in candidates(item) if isinstance(turn, Skip)]


def test_tau2_keeps_the_users_calls_out() -> None:
    first, second = read("tau2_bench", formats.TAU2)
    assert isinstance(first, Trajectory)
    assert shown(first) == [
        ("system", "Help with phones.", []),
        ("assistant", "Hi! How can I help?", []),
        ("user", "No signal.", []),
        ("assistant", None, ['get_line {"id": "L1"}']),
        ("tool", '{"status": "ok"}', []),
        ("assistant", "Please look at the status bar.", []),
        ("user", "It shows a plane.", []),
        ("assistant", None, ['get_line {"id": "L1"}', 'get_line {"id": "L2"}']),
        ("tool", "one", []),
        ("tool", "two", []),
        ("assistant", "Turn airplane mode off.", []),
        ("user", "###STOP###", []),
    ]
    assert [m.get("tool_call_id") for m in first.messages if m["role"] == "tool"] == ["a1", "a2", "a3"]
    assert first.left_out == {"user_calls": 1, "user_call_results": 1}
    assert _skips(first) == [(0, "scripted_greeting")]
    assert first.tools[0]["function"]["name"] == "get_line"
    assert list(first.tools[0]["function"]) == ["name", "description", "parameters"]
    assert (first.trajectory_id, first.task_id, first.success) == ("sim-1", "telecom/t1", True)
    assert (second.trajectory_id, second.task_id, second.success) == ("sim-2", "telecom/t1", False)
    assert isinstance(second, Trajectory)
    assert _skips(second) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"info": {}}, "no_info"),
        ({"simulations": []}, "no_simulations"),
        ({"simulations": {}}, "no_simulations"),
        ({"simulations": [{}]}, "messages_missing"),
        ({"simulations": [7]}, "messages_missing"),
        ({"simulations": [{"messages": None, "ticks": [1]}]}, "full_duplex"),
        ({"simulations": [{"messages": [5]}]}, "bad_message"),
    ],
)
def test_tau2_results_that_cannot_be_read(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read("tau2_bench", formats.TAU2 | change)
    assert caught.value.reason == reason


def test_a_result_without_requestor_belongs_to_the_call_that_it_answers() -> None:
    def message(role: str, **more: Any) -> dict[str, Any]:
        return {"role": role, "content": None, **more}

    simulation = {
        "messages": [
            message("user", content="Help."),
            message("user", tool_calls=[{"id": "same", "name": "toggle", "arguments": {}}]),
            message("tool", id="same", content="toggled"),
            message("assistant", tool_calls=[{"id": "same", "name": "get", "arguments": {}}]),
            message("tool", id="same", content="got"),
            message("assistant", content="Done."),
        ]
    }
    (item,) = read("tau2_bench", formats.TAU2 | {"simulations": [simulation]})
    assert isinstance(item, Trajectory)
    assert [text for role, text, _ in shown(item) if role == "tool"] == ["got"]
    assert item.left_out == {"user_calls": 1, "user_call_results": 1}


def test_a_tau2_simulation_without_its_run_is_not_taken_for_a_chat() -> None:
    alone = formats.TAU2["simulations"][0]
    form = detect(alone)
    assert form is not None
    assert form.name == "tau2_bench"
    with pytest.raises(BadRecord, match="no_info"):
        read("tau2_bench", alone)


def test_trials_of_a_task_share_its_id_across_files() -> None:
    one = trajectory("tau_bench", formats.TAU, "gpt.json:1")
    other = trajectory("tau_bench", formats.TAU | {"trial": 3}, "claude.json:9")
    unlike = trajectory("tau_bench", formats.TAU | {"info": {"task": {"user_id": "v"}}}, "gpt.json:1")
    assert one.task_id == other.task_id != unlike.task_id
    content = trajectory_id(one.messages, one.tools)
    assert (one.trajectory_id, other.trajectory_id) == (
        f"gpt/task-4/trial-2/{content}",
        f"claude/task-4/trial-3/{content}",
    )
    said = {"traj": [*RAW["messages"], {"role": "user", "content": "Bye."}]}
    assert trajectory("tau_bench", formats.TAU | said, "elsewhere/gpt.json:1").trajectory_id != one.trajectory_id


def test_a_huge_reward_is_a_number_like_any_other() -> None:
    assert trajectory("tau_bench", formats.TAU | {"reward": 10**400}).success is False
    assert trajectory("tau_bench", formats.TAU | {"reward": 1 - 1e-9}).success is True
    assert trajectory("tau_bench", formats.TAU | {"reward": "1"}).success is None


def test_a_transcript_is_read_up_to_the_first_lost_call() -> None:
    item = trajectory("tau_bench_text", formats.TRANSCRIPT)
    assert shown(item) == [
        ("user", "Cancel it.", []),
        ("assistant", "Which one?\nNumber, please.", []),
        ("user", "7", []),
        ("assistant", "", []),
        ("tool", "cancelled", []),
        ("assistant", "Done.", []),
    ]
    assert _skips(item) == [(1, "call_not_recorded"), (2, "history_without_calls")]
    for text in ("", "hello", " user: x", None, 5):
        with pytest.raises(BadRecord, match="messages_missing"):
            trajectory("tau_bench_text", {"messages_display": text})


def test_swe_agent_tool_calls() -> None:
    item = trajectory("swe_agent", formats.SWE_CALLS)
    assert shown(item) == [
        ("system", "You fix code.", []),
        ("user", "Fix a.py.", []),
        ("assistant", "Look.", ['bash {"command": "ls"}']),
        ("tool", "a.py", []),
        ("assistant", None, ["submit {}"]),
    ]
    assert item.messages[2]["reasoning_content"] == "What is there?"
    assert item.messages[3]["tool_call_id"] == "c1"
    assert (item.domain, item.task_id, item.success) == ("swe", "org__repo-7", None)


def test_swe_agent_text_actions_and_demonstrations() -> None:
    item = trajectory("swe_agent", formats.SWE_TEXT, "runs/org__repo-3.traj.gz:1")
    assert [len(shown(item)), item.success, item.task_id] == [7, False, "org__repo-3"]
    skip, turn = candidates(item)
    assert skip == Skip("demonstration", "runs/org__repo-3.traj.gz:1", 0)
    assert isinstance(turn, Candidate)
    assert turn.expected.content == "Open it.\n```\nopen a.py\n```"
    assert len(turn.messages) == 5


def test_swe_agent_tables_and_attempts() -> None:
    item = trajectory("swe_agent", formats.SWE_TABLE)
    assert [message["role"] for message in item.messages] == ["system", "user", "assistant", "user"]
    assert item.messages[0]["content"] == "You fix code."
    assert (item.success, item.task_id) == (True, "org__repo-8")
    tries = {"attempts": [formats.SWE_CALLS, formats.SWE_TEXT], "info": {}}
    assert [t.success for t in read("swe_agent", tries)] == [None, False]
    assert len(read("swe_agent", formats.SWE_CALLS | {"attempts": [formats.SWE_TEXT]})) == 1
    steps = {"trajectory": formats.SWE_CALLS["trajectory"]}
    form = detect(steps)
    assert form is not None
    assert form.name == "swe_agent"
    with pytest.raises(BadRecord, match="messages_missing"):
        trajectory("swe_agent", steps)


def test_openhands_events_with_the_models_own_responses() -> None:
    item = trajectory("openhands", formats.OPENHANDS)
    assert shown(item) == [
        ("system", "You are an agent.", []),
        ("user", "Fix it.", []),
        ("assistant", "Both at once.", ['execute_bash {"command": "ls"}', 'execute_bash {"command": "pwd"}']),
        ("tool", "a.py\n[done]\n[Current working directory: /repo]\n[Command finished with exit code 0]", []),
        ("tool", "no shell\n[Error occurred in processing last action]", []),
        ("assistant", "May I go on?", []),
        ("user", "Yes.", []),
        ("assistant", None, ['finish {"message": "Done."}']),
    ]
    assert [m.get("tool_call_id") for m in item.messages[3:5]] == ["c1", "c2"]
    assert item.tools == (WEATHER_TOOL,)
    assert item.left_out == {"event_recall": 2, "event_agent_state_changed": 1}
    assert (item.success, item.task_id, item.domain) == (True, "org__repo-9", "swe")


def test_openhands_pairs_become_calls() -> None:
    item = trajectory("openhands", formats.OPENHANDS_PAIRS)
    assert shown(item) == [
        ("user", "Fix it.", []),
        ("assistant", "Look.", ['execute_bash {"command": "ls"}']),
        ("tool", "a.py\n[Command finished with exit code 1]", []),
        ("assistant", None, ['execute_ipython_cell {"code": "1 + 1"}']),
        ("tool", "2", []),
        ("assistant", "All done.", ["finish {}"]),
    ]
    calls = [c["id"] for m in item.messages for c in m.get("tool_calls", ())]
    assert [m["tool_call_id"] for m in item.messages if m["role"] == "tool"] == calls[:2]
    assert item.success is False


def test_openhands_sdk_events() -> None:
    item = trajectory("openhands", formats.OPENHANDS_SDK)
    said = [json.dumps({"command": command, "security_risk": "LOW"}) for command in ("ls", "pwd")]
    assert shown(item) == [
        ("system", "You are an agent.\n\nToday is Monday.", []),
        ("user", "Fix it. Rules apply.", []),
        ("assistant", "Look.", [f"terminal {text}" for text in said]),
        ("tool", "a.py", []),
        ("tool", "No.", []),
        ("assistant", "Done.", []),
    ]
    assert item.messages[2]["reasoning_content"] == "Hm."
    assert item.tools[0]["function"]["name"] == "terminal"
    assert item.left_out == {"event_other": 1, "condensation": 1}
    assert item.success is True


def test_images_end_the_turns_that_can_be_learned() -> None:
    seen = json.loads(json.dumps(formats.OPENHANDS_SDK))
    seen["history"][1]["llm_message"]["content"].append({"type": "image", "image_urls": ["data:"]})
    item = trajectory("openhands", seen)
    assert _skips(item) == [(0, "multimodal_history"), (1, "multimodal_history")]
    assert item.left_out["images"] == 1


def test_openhands_logs_of_one_episode_share_its_folder() -> None:
    item = trajectory("openhands", formats.OPENHANDS_CALL, "completions/org__repo-4/model-17.json:1")
    assert shown(item) == [
        ("system", "You are an agent.", []),
        ("user", "Fix it.", []),
        ("assistant", None, ['execute_bash {"command": "ls"}']),
    ]
    assert (item.trajectory_id, item.task_id) == ("org__repo-4", "org__repo-4")
    assert item.tools == (WEATHER_TOOL,)


def test_a_gym_rollout_is_a_trajectory() -> None:
    item = trajectory("nemo_gym", formats.GYM_ROLLOUT, "rollouts.jsonl:4")
    assert shown(item)[4:] == [
        ("assistant", None, ['search {"query": "author"}']),
        ("tool", "Ibsen", []),
        ("assistant", "Ibsen.", []),
    ]
    assert item.messages[4]["reasoning_content"] == "Search."
    assert _skips(item) == [(0, "given_history")]
    assert (item.domain, item.success, item.task_id) == ("search", True, "rollouts/3")
    with pytest.raises(BadRecord, match="no_expected_action"):
        read("nemo_gym", {"responses_create_params": {"input": "x"}, "response": {"output": None}})


def test_a_gym_row_stays_a_row() -> None:
    (row,) = read("nemo_gym", formats.GYM_ROW)
    assert isinstance(row, Candidate)
    assert (row.trajectory_id, row.turn, row.turns, row.expected.content) == ("u-1", 0, 1, "Clear.")


def test_atif_steps_subagents_and_media() -> None:
    main, sub = read("atif", formats.ATIF)
    assert isinstance(main, Trajectory)
    assert isinstance(sub, Trajectory)
    assert shown(main) == [
        ("system", "You are an agent.", []),
        ("user", "Fix it.", []),
        ("assistant", "Copied.", []),
        ("assistant", "Both.", ['shell {"command": "ls"}', "delegate {}"]),
        ("tool", "", []),
        ("tool", "a.py", []),
        ("assistant", "Dispatched.", []),
        ("user", "See this.", []),
        ("assistant", "Done.", []),
    ]
    assert [m["tool_call_id"] for m in main.messages if m["role"] == "tool"] == ["c2", "c1"]
    assert _skips(main) == [(0, "copied_context"), (2, "not_generated"), (3, "multimodal_history")]
    assert main.left_out == {"subagent_reference": 1, "images": 1}
    assert main.messages[3]["reasoning_content"] == "Hm."
    assert (main.domain, main.success, main.task_id) == ("swe", True, "task-5")
    assert main.trajectory_id.startswith("main/")
    assert sub.trajectory_id.startswith("main/sub/")
    assert shown(sub) == [("user", "Look for it.", []), ("assistant", "Found.", [])]


def test_atif_of_terminus_is_the_json_that_it_writes() -> None:
    item = trajectory("atif", formats.ATIF_TERMINUS)
    written = [m["content"] for m in item.messages if m["role"] == "assistant"]
    assert [json.loads(text) for text in written] == [
        {
            "analysis": "A prompt.",
            "plan": "List files.",
            "commands": [{"keystrokes": "ls\n", "duration": 1}, {"keystrokes": "pwd\n"}],
        },
        {"analysis": "Done.", "plan": "Stop.", "commands": [], "task_complete": True},
        {"analysis": "raw", "plan": "", "commands": []},
    ]
    assert [m["role"] for m in item.messages] == ["user", "assistant", "user", "assistant", "assistant"]
    assert item.domain == "terminal"


def test_invalid_atif_says_where() -> None:
    broken = json.loads(json.dumps(formats.ATIF))
    broken["steps"][1]["step_id"] = 9
    with pytest.raises(BadRecord, match=r"invalid_atif: the record: .*not sequential") as caught:
        read("atif", broken)
    assert "\n" not in caught.value.detail


def test_chat_records_of_tables_and_older_forms() -> None:
    stored = {
        "messages": json.dumps(RAW["messages"]),
        "tools": json.dumps(RAW["tools"]),
        "instance_id": "i-1",
        "resolved": True,
    }
    item = trajectory("openai_chat", stored)
    assert item.messages == trajectory("openai_chat", RAW).messages
    assert (item.tools, item.task_id, item.success) == ((WEATHER_TOOL,), "i-1", True)
    older = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}, "weight": 0},
        {"role": "function", "name": "f", "content": "clear"},
        {"role": "assistant", "content": [{"type": "text", "text": "Clear."}], "reasoning": "Hm.", "weight": 1},
    ]
    item = trajectory("openai_chat", {"messages": older})
    assert shown(item)[1:] == [("assistant", None, ["f {}"]), ("tool", "clear", []), ("assistant", "Clear.", [])]
    assert item.messages[2]["tool_call_id"] == item.messages[1]["tool_calls"][0]["id"]
    assert item.messages[3]["reasoning_content"] == "Hm."
    assert _skips(item) == [(0, "weight_zero")]
    as_text = {"role": "assistant", "tool_calls": json.dumps([call("f", {"a": 1})])}
    item = trajectory("openai_chat", {"messages": [{"role": "user", "content": "x"}, as_text]})
    assert shown(item)[1] == ("assistant", None, ['f {"a": 1}'])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": "[1"}, "messages_missing"),
        ({"messages": [], "tools": "none"}, "bad_tools"),
        ({"messages": [{"role": "assistant", "tool_calls": "[{"}]}, "bad_tool_calls"),
    ],
)
def test_json_text_that_is_none(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRecord) as caught:
        read("openai_chat", record)
    assert caught.value.reason == reason
