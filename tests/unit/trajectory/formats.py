"""One small record of each format that can be read, written for these tests."""

import json
from typing import Any

from pivot.trajectory.detect import format_named
from pivot.trajectory.types import Candidate, Trajectory
from tests.unit.trajectory.examples import RAW, call

Record = dict[str, Any]


def read(name: str, record: Record, source: str = "runs/one/file.json:3") -> list[Trajectory | Candidate]:
    """Every part of a record, read by the named format."""
    form = format_named(name)
    return [form.read(part, source, ()) for part in form.parts(record)]


def trajectory(name: str, record: Record, source: str = "runs/one/file.json:3") -> Trajectory:
    """The only trajectory of a record."""
    (item,) = read(name, record, source)
    assert isinstance(item, Trajectory)
    return item


def shown(item: Trajectory) -> list[tuple[str, str | None, list[str]]]:
    """Role, content and calls of each message."""
    return [
        (
            message["role"],
            message["content"],
            [f"{c['function']['name']} {c['function']['arguments']}" for c in message.get("tool_calls", ())],
        )
        for message in item.messages
    ]


def _flat(name: str, arguments: Any, call_id: str, requestor: str = "assistant") -> Record:
    return {"id": call_id, "name": name, "arguments": arguments, "requestor": requestor}


TAU2: Record = {
    "timestamp": "2025-06-01",
    "info": {
        "num_trials": 1,
        "environment_info": {
            "domain_name": "telecom",
            "policy": "Help with phones.",
            "tool_defs": {
                "get_line": {
                    "name": "get_line",
                    "doc": "A line.",
                    "params": {"type": "object", "properties": {"id": {"type": "string"}}},
                    "returns": {},
                }
            },
        },
    },
    "tasks": [{"id": "t1"}],
    "simulations": [
        {
            "id": "sim-1",
            "task_id": "t1",
            "trial": 0,
            "termination_reason": "user_stop",
            "reward_info": {"reward": 1.0, "reward_basis": ["DB"]},
            "messages": [
                {"role": "assistant", "content": "Hi! How can I help?", "tool_calls": None, "turn_idx": 0},
                {"role": "user", "content": "No signal.", "tool_calls": None},
                {"role": "assistant", "content": None, "tool_calls": [_flat("get_line", {"id": "L1"}, "a1")]},
                {"role": "tool", "id": "a1", "content": '{"status": "ok"}', "requestor": "assistant", "error": False},
                {"role": "assistant", "content": "Please look at the status bar.", "tool_calls": None},
                {"role": "user", "content": None, "tool_calls": [_flat("check_status_bar", {}, "u1", "user")]},
                {"role": "tool", "id": "u1", "content": "airplane mode", "requestor": "user", "error": False},
                {"role": "user", "content": "It shows a plane.", "tool_calls": None},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [_flat("get_line", {"id": "L1"}, "a2"), _flat("get_line", {"id": "L2"}, "a3")],
                },
                {
                    "role": "tool",
                    "tool_messages": [
                        {"role": "tool", "id": "a2", "content": "one", "requestor": "assistant"},
                        {"role": "tool", "id": "a3", "content": "two", "requestor": "assistant"},
                    ],
                },
                {"role": "assistant", "content": "Turn airplane mode off.", "tool_calls": None},
                {"role": "user", "content": "###STOP###", "tool_calls": None},
            ],
        },
        {
            "id": "sim-2",
            "task_id": "t1",
            "trial": 1,
            "reward_info": {"reward": 0.0},
            "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}],
        },
    ],
}

TAU: Record = {"task_id": 4, "trial": 2, "reward": 1.0, "info": {"task": {"user_id": "u"}}, "traj": RAW["messages"]}

TRANSCRIPT: Record = {
    "messages_display": "user: Cancel it.\nassistant: Which one?\nNumber, please.\nuser: 7\nassistant: None\n"
    "tool: cancelled\nassistant: Done."
}

SWE_CALLS: Record = {
    "environment": "main",
    "trajectory": [{"action": "ls", "observation": "a.py", "response": "Look.", "thought": "Look."}],
    "history": [
        {"role": "system", "content": "You fix code.", "agent": "main", "message_type": "system_prompt"},
        {"role": "user", "content": [{"type": "text", "text": "Fix a.py."}], "message_type": "observation"},
        {
            "role": "assistant",
            "content": "Look.",
            "thought": "Look.",
            "action": "ls",
            "tool_calls": [call("bash", {"command": "ls"}, "c1")],
            "thinking_blocks": [{"type": "thinking", "thinking": "What is there?", "signature": "x"}],
            "message_type": "action",
        },
        {"role": "tool", "content": "a.py", "tool_call_ids": ["c1"], "message_type": "observation"},
        {"role": "assistant", "content": "", "tool_calls": [call("submit", {}, "c2")], "message_type": "action"},
    ],
    "info": {"exit_status": "submitted", "submission": "diff"},
    "replay_config": json.dumps({"problem_statement": {"id": "org__repo-7"}}),
}

SWE_TEXT: Record = {
    "history": [
        {"role": "system", "content": "You fix code.", "agent": "primary"},
        {"role": "user", "content": "An example:", "is_demo": True, "agent": "primary"},
        {"role": "assistant", "content": "Demo.\n```\nls\n```", "is_demo": True, "agent": "primary"},
        {"role": "user", "content": "b.py", "is_demo": "true", "agent": "primary"},
        {"role": "user", "content": "Fix a.py.", "agent": "primary"},
        {
            "role": "assistant",
            "content": "Open it.\n```\nopen a.py\n```",
            "thought": "Open it.\n",
            "action": "open a.py\n",
            "agent": "primary",
        },
        {"role": "user", "content": "1: pass", "agent": "primary"},
    ],
    "info": {"exit_status": "exit_cost", "submission": None},
}

SWE_TABLE: Record = {
    "instance_id": "org__repo-8",
    "target": True,
    "exit_status": "submitted",
    "trajectory": [
        {"role": "system", "system_prompt": "You fix code.", "text": None, "mask": False},
        {"role": "user", "system_prompt": None, "text": "Fix it."},
        {"role": "ai", "system_prompt": None, "text": "Look.\n```\nls\n```"},
        {"role": "user", "system_prompt": None, "text": "a.py"},
    ],
}


def _response(response_id: str, message: Record) -> Record:
    return {"id": response_id, "choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


_TWO = _response(
    "r1",
    {
        "content": "Both at once.",
        "tool_calls": [call("execute_bash", {"command": "ls"}, "c1"), call("execute_bash", {"command": "pwd"}, "c2")],
    },
)


def _native(event: Record, call_id: str, response: Record) -> Record:
    names = {"function_name": "execute_bash", "tool_call_id": call_id, "total_calls_in_response": 2}
    return {**event, "tool_call_metadata": {**names, "model_response": response}}


OPENHANDS: Record = {
    "instance_id": "org__repo-9",
    "report": {"resolved": True},
    "history": [
        {
            "id": 0,
            "source": "agent",
            "action": "system",
            "args": {"content": "You are an agent.", "tools": [RAW["tools"][0]]},  # type: ignore[index]
        },
        {"id": 1, "source": "user", "action": "message", "args": {"content": "Fix it.", "image_urls": None}},
        {"id": 2, "source": "user", "action": "recall", "args": {"query": "Fix it."}},
        {"id": 3, "source": "environment", "observation": "recall", "content": "Added workspace context"},
        _native({"id": 4, "source": "agent", "action": "run", "args": {"command": "ls", "thought": ""}}, "c1", _TWO),
        _native(
            {
                "id": 5,
                "source": "agent",
                "observation": "run",
                "content": "a.py",
                "extras": {"metadata": {"exit_code": 0, "working_dir": "/repo", "suffix": "\n[done]"}},
            },
            "c1",
            _TWO,
        ),
        _native({"id": 6, "source": "agent", "action": "run", "args": {"command": "pwd"}}, "c2", _TWO),
        _native({"id": 7, "source": "agent", "observation": "error", "content": "no shell"}, "c2", _TWO),
        {"id": 8, "source": "agent", "action": "message", "args": {"content": "May I go on?"}},
        {"id": 9, "source": "user", "action": "message", "args": {"content": "Yes."}},
        {"id": 10, "source": "environment", "observation": "agent_state_changed", "content": ""},
        _native(
            {"id": 11, "source": "agent", "action": "finish", "args": {"final_thought": "Done."}},
            "c3",
            _response("r2", {"content": None, "tool_calls": [call("finish", {"message": "Done."}, "c3")]}),
        ),
    ],
}

OPENHANDS_PAIRS: Record = {
    "instance_id": "org__repo-1",
    "resolved": False,
    "history": [
        [
            {"id": 0, "source": "user", "action": "message", "args": {"content": "Fix it."}},
            {"observation": "null", "content": ""},
        ],
        [
            {
                "id": 1,
                "source": "agent",
                "action": "run",
                "args": {"command": "ls", "thought": "Look.", "blocking": True, "keep_prompt": False},
            },
            {
                "cause": 1,
                "source": "agent",
                "observation": "run",
                "content": "a.py",
                "extras": {"command_id": 3, "exit_code": 1},
            },
        ],
        [
            {"source": "agent", "action": "run_ipython", "args": {"code": "1 + 1", "thought": ""}},
            {"source": "agent", "observation": "run_ipython", "content": "2", "extras": {"code": "1 + 1"}},
        ],
        [
            {"id": 5, "source": "agent", "action": "finish", "args": {"outputs": {}, "thought": "All done."}},
            {"observation": "null", "content": ""},
        ],
    ],
}


def _sdk_action(call_id: str, response: str, command: str, thought: str) -> Record:
    return {
        "kind": "ActionEvent",
        "source": "agent",
        "thought": [{"type": "text", "text": thought}] if thought else [],
        "reasoning_content": "Hm." if thought else None,
        "action": {"kind": "TerminalAction", "command": command},
        "tool_name": "terminal",
        "tool_call_id": call_id,
        "tool_call": {
            "id": call_id,
            "name": "terminal",
            "arguments": json.dumps({"command": command, "security_risk": "LOW"}),
            "origin": "completion",
        },
        "llm_response_id": response,
    }


OPENHANDS_SDK: Record = {
    "instance_id": "org__repo-2",
    "test_result": {"report": {"resolved": True}},
    "history": [
        {
            "kind": "SystemPromptEvent",
            "source": "agent",
            "system_prompt": {"type": "text", "text": "You are an agent."},
            "dynamic_context": {"type": "text", "text": "Today is Monday."},
            "tools": [{"type": "function", "function": {"name": "terminal", "parameters": {"type": "object"}}}],
        },
        {
            "kind": "MessageEvent",
            "source": "user",
            "llm_message": {"role": "user", "content": [{"type": "text", "text": "Fix it."}]},
            "extended_content": [{"type": "text", "text": " Rules apply."}],
        },
        _sdk_action("c1", "r1", "ls", "Look."),
        _sdk_action("c2", "r1", "pwd", ""),
        {
            "kind": "ObservationEvent",
            "source": "environment",
            "tool_name": "terminal",
            "tool_call_id": "c1",
            "observation": {
                "kind": "TerminalObservation",
                "content": [{"type": "text", "text": "a.py"}],
                "exit_code": 0,
            },
        },
        {"kind": "AgentErrorEvent", "source": "agent", "tool_name": "terminal", "tool_call_id": "c2", "error": "No."},
        {"kind": "ConversationStateUpdateEvent", "source": "environment", "key": "x", "value": 1},
        {"kind": "Condensation", "source": "environment", "forgotten_event_ids": ["1"]},
        {
            "kind": "MessageEvent",
            "source": "agent",
            "llm_message": {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
        },
    ],
}

OPENHANDS_CALL: Record = {
    "messages": [{"role": "user", "content": "<function=...>"}],
    "fncall_messages": [
        {"role": "system", "content": [{"type": "text", "text": "You are an agent."}]},
        {"role": "user", "content": [{"type": "text", "text": "Fix it."}]},
    ],
    "response": {"id": "r1", "choices": [{"message": {"content": "<function=ls>", "role": "assistant"}}]},
    "fncall_response": _response("r1", {"content": None, "tool_calls": [call("execute_bash", {"command": "ls"}, "c")]}),
    "kwargs": {"tools": RAW["tools"], "temperature": 0.0},
    "cost": 0.1,
}

GYM_ROLLOUT: Record = {
    "responses_create_params": {
        "input": [
            {"role": "system", "content": "Search the web."},
            {"role": "user", "content": "Who wrote it?"},
            {"role": "assistant", "content": "I will look."},
            {"role": "user", "content": "Do."},
        ],
        "tools": [{"type": "function", "name": "search", "parameters": {"type": "object"}, "strict": None}],
    },
    "response": {
        "id": "resp_1",
        "output": [
            {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Search."}]},
            {"type": "function_call", "call_id": "c1", "name": "search", "arguments": '{"query": "author"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "Ibsen"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Ibsen."}]},
        ],
    },
    "reward": 1.0,
    "agent_ref": {"type": "responses_api_agents", "name": "web_search_agent"},
    "_ng_task_index": 3,
}

GYM_ROW: Record = {
    "responses_create_params": {"input": [{"role": "user", "content": "Oslo?"}]},
    "expected_action": {"type": "message", "content": "Clear."},
    "uuid": "u-1",
}

_AGENT = {"name": "codex", "version": "1.0", "model_name": "m"}

ATIF: Record = {
    "schema_version": "ATIF-v1.8",
    "session_id": "run-1",
    "trajectory_id": "main",
    "agent": {**_AGENT, "tool_definitions": [RAW["tools"][0]]},  # type: ignore[index]
    "extra": {"task_id": "task-5", "reward": 1},
    "steps": [
        {"step_id": 1, "source": "system", "message": "You are an agent."},
        {"step_id": 2, "source": "user", "message": [{"type": "text", "text": "Fix it."}]},
        {"step_id": 3, "source": "agent", "message": "Copied.", "is_copied_context": True},
        {
            "step_id": 4,
            "source": "agent",
            "message": "Both.",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"tool_call_id": "c1", "function_name": "shell", "arguments": {"command": "ls"}},
                {"tool_call_id": "c2", "function_name": "delegate", "arguments": {}},
            ],
            "observation": {
                "results": [
                    {"source_call_id": "c2", "subagent_trajectory_ref": [{"trajectory_id": "sub"}]},
                    {"source_call_id": "c1", "content": "a.py"},
                ]
            },
        },
        {"step_id": 5, "source": "agent", "message": "Dispatched.", "llm_call_count": 0},
        {
            "step_id": 6,
            "source": "user",
            "message": [
                {"type": "text", "text": "See this."},
                {"type": "image", "source": {"media_type": "image/png", "path": "a.png"}},
            ],
        },
        {"step_id": 7, "source": "agent", "message": "Done."},
    ],
    "subagent_trajectories": [
        {
            "schema_version": "ATIF-v1.8",
            "trajectory_id": "sub",
            "agent": _AGENT,
            "steps": [
                {"step_id": 1, "source": "user", "message": "Look for it."},
                {"step_id": 2, "source": "agent", "message": "Found."},
            ],
        }
    ],
}

ATIF_TERMINUS: Record = {
    "schema_version": "ATIF-v1.5",
    "session_id": "run-2",
    "agent": {"name": "terminus-2", "version": "2.0"},
    "steps": [
        {"step_id": 1, "source": "user", "message": "Use the terminal."},
        {
            "step_id": 2,
            "source": "agent",
            "message": "Analysis: A prompt.\nPlan: List files.",
            "tool_calls": [
                {
                    "tool_call_id": "1",
                    "function_name": "bash_command",
                    "arguments": {"keystrokes": "ls\n", "duration": 1},
                },
                {"tool_call_id": "2", "function_name": "bash_command", "arguments": {"keystrokes": "pwd\n"}},
            ],
            "observation": {"results": [{"content": "a.py"}]},
        },
        {
            "step_id": 3,
            "source": "agent",
            "message": "Analysis: Done.\nPlan: Stop.",
            "tool_calls": [{"tool_call_id": "3", "function_name": "mark_task_complete", "arguments": {}}],
        },
        {"step_id": 4, "source": "agent", "message": '{"analysis": "raw", "plan": "", "commands": []}'},
    ],
}

EXAMPLES: list[tuple[str, Record]] = [
    ("openai_chat", RAW),
    ("tau_bench", TAU),
    ("tau_bench_text", TRANSCRIPT),
    ("tau2_bench", TAU2),
    ("swe_agent", SWE_CALLS),
    ("swe_agent", SWE_TEXT),
    ("swe_agent", SWE_TABLE),
    ("openhands", OPENHANDS),
    ("openhands", OPENHANDS_PAIRS),
    ("openhands", OPENHANDS_SDK),
    ("openhands", OPENHANDS_CALL),
    ("nemo_gym", GYM_ROLLOUT),
    ("nemo_gym", GYM_ROW),
    ("atif", ATIF),
    ("atif", ATIF_TERMINUS),
]
