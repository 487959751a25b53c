"""Reader for SWE-agent trajectories (`.traj`): `{"history": [...], "trajectory": [...], "info": {...}}`.

The agent acts by tool calls, or by text that ends in a command between ``` fences; either is kept as it was. The
published tables that hold the same episodes as `trajectory: [{"role", "text"}]` are read too. None of them holds
tool schemas.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.media import without_media
from pivot.trajectory.messages import BadRecord, read_messages, read_tools
from pivot.trajectory.strict_json import BadJson
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import (
    as_dict,
    as_list,
    as_text,
    first_name,
    from_json_text,
    objects,
    stem_of,
    success_of,
)

DOMAIN = "swe"

Record = dict[str, Any]


def _spoken(value: Any) -> bool:
    return any("role" in item for item in objects(value))


def matches(record: Record) -> bool:
    """Whether a record has this format's shape."""
    if _spoken(record.get("history")) or _spoken(record.get("trajectory")):
        return True
    if "attempts" in record:
        return any("history" in attempt for attempt in objects(record["attempts"]))
    steps = list(objects(record.get("trajectory")))
    return bool(steps) and "response" in steps[0] and "thought" in steps[0]


def parts(record: Record) -> Iterator[Record]:
    """The record itself, or one a try when the agent tried several times and chose none."""
    attempts = [attempt for attempt in objects(record.get("attempts")) if "history" in attempt]
    if "history" in record or not attempts:
        yield record
        return
    for attempt in attempts:
        yield {**record, **attempt, "attempts": []}


def _thinking(raw: Record) -> str:
    blocks = [as_text(block.get("thinking")) for block in objects(raw.get("thinking_blocks"))]
    return "\n".join(text for text in blocks if text)


def _from_history(raw: Record) -> Record:
    message = dict(raw)
    if raw.get("role") == "assistant" and (thinking := _thinking(raw)):
        message.setdefault("reasoning_content", thinking)
    # One observation answers all calls of a step; SWE-agent itself sends it under the first.
    ids = as_list(raw.get("tool_call_ids"))
    if raw.get("role") == "tool" and ids and not raw.get("tool_call_id"):
        message["tool_call_id"] = ids[0]
    return message


def _from_table(raw: Record) -> Record:
    role = "assistant" if raw.get("role") == "ai" else raw.get("role")
    text = raw.get("text")
    return {"role": role, "content": raw.get("system_prompt") if role == "system" and not text else text}


def _raw_messages(record: Record) -> list[Any]:
    if "history" in record:
        if not isinstance(record["history"], list):
            raise BadRecord("messages_missing", "`history` is no list")
        return [_from_history(raw) if isinstance(raw, dict) else raw for raw in record["history"]]
    if not _spoken(record.get("trajectory")):
        raise BadRecord("messages_missing", "`history` is missing: the steps alone do not say what the agent was told")
    return [_from_table(raw) if isinstance(raw, dict) else raw for raw in as_list(record["trajectory"])]


def _is_demo(raw: Any) -> bool:
    return isinstance(raw, dict) and raw.get("is_demo") in (True, "true", "True")


def _success(record: Record) -> bool | None:
    """A submission may still be wrong, so it does not say; none at all is a failure."""
    said = success_of(record)
    info = as_dict(record.get("info"))
    if said is not None or not isinstance(info.get("exit_status"), str):
        return said
    return None if info["exit_status"].startswith("submitted") or info.get("submission") else False


def _task_id(record: Record, source: str) -> str:
    """The instance; SWE-agent names its files after it."""
    try:
        replayed = as_dict(from_json_text(record.get("replay_config")))
    except BadJson:
        replayed = {}
    problem = as_dict(replayed.get("problem_statement"))
    return first_name(record, "instance_id") or first_name(problem, "id") or stem_of(source)


def read(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Demonstrations are history, as the agent saw them, but no turns of the expert.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: The tools that the calls name.

    Raises:
        BadRecord: The record cannot be read.
    """
    left_out: Counter[str] = Counter()
    raw_messages, not_expert = without_media(_raw_messages(record), left_out)
    messages = read_messages(raw_messages)
    tools = read_tools(record.get("tools")) or default_tools
    task = _task_id(record, source)
    return Trajectory(
        trajectory_id=f"{task}/{trajectory_id(messages, tools)}",
        messages=messages,
        tools=tools,
        domain=DOMAIN,
        success=_success(record),
        source=source,
        task_id=task,
        not_expert=not_expert
        | {
            index: "demonstration"
            for index, (raw, message) in enumerate(zip(raw_messages, messages, strict=True))
            if message["role"] == "assistant" and _is_demo(raw)
        },
        left_out=dict(left_out),
    )
