"""Small trajectories that several tests share, and hypothesis strategies for canonical ones."""

import json
from typing import Any

from hypothesis import strategies as st

from pivot.trajectory import Trajectory
from pivot.trajectory.messages import read_messages, read_tools

WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
        },
    },
}


def call(name: str, arguments: Any, call_id: str = "c1") -> dict[str, Any]:
    """A raw tool call; arguments that are no text are written as JSON."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


RAW = {
    "messages": [
        {"role": "system", "content": "You help with the weather."},
        {"role": "user", "content": "How is Oslo?"},
        {"role": "assistant", "content": None, "tool_calls": [call("get_weather", {"city": "Oslo"})]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "clear"}'},
        {"role": "assistant", "content": "It is clear in Oslo."},
    ],
    "tools": [WEATHER_TOOL],
}


def weather_trajectory() -> Trajectory:
    """A trajectory of two assistant turns."""
    return Trajectory(
        trajectory_id="weather",
        messages=read_messages(RAW["messages"]),
        tools=read_tools(RAW["tools"]),
        domain="tool_use",
        success=True,
        source="weather.jsonl:1",
    )


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
_ARGUMENTS = st.dictionaries(_TEXT, st.none() | st.booleans() | st.integers() | _TEXT, max_size=3).map(json.dumps)
_CALL = st.builds(
    lambda name, arguments, call_id: call(name, arguments, call_id),
    _NAME,
    _ARGUMENTS,
    st.sampled_from(["a", "b", "c"]),
)


def _with_reasoning(message: dict[str, Any], reasoning: str) -> dict[str, Any]:
    return message | {"reasoning_content": reasoning} if reasoning else message


_ASSISTANT = st.builds(
    _with_reasoning,
    st.builds(lambda text: {"role": "assistant", "content": text}, _TEXT)
    | st.builds(
        lambda text, calls: {"role": "assistant", "content": text, "tool_calls": calls},
        st.none() | _TEXT,
        st.lists(_CALL, min_size=1, max_size=3),
    ),
    st.just("") | _TEXT,
)
_OTHER = st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["system", "user"]), _TEXT)
_RESULT = st.builds(
    lambda call_id, text: {"role": "tool", "tool_call_id": call_id, "content": text},
    st.sampled_from(["a", "b", "c"]),
    _TEXT,
)
RAW_MESSAGES = st.lists(_ASSISTANT | _OTHER | _RESULT, max_size=8)
TRAJECTORIES = st.builds(
    lambda raw, domain, success, tools: Trajectory(
        trajectory_id="t",
        messages=read_messages(raw),
        tools=read_tools(tools),
        domain=domain,
        success=success,
        source="f:1",
    ),
    RAW_MESSAGES,
    st.sampled_from(["tool_use", "swe"]),
    st.sampled_from([None, True, False]),
    st.sampled_from([[], [WEATHER_TOOL]]),
)
