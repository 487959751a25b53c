"""Reader for OpenAI chat records: `{"messages": [...], "tools": [...]}`, one trajectory each."""

from collections import Counter
from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.media import without_media
from pivot.trajectory.messages import BadRecord, read_messages, read_tools, without_user_side
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.strict_json import BadJson
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import as_text, first_name, from_json_text, success_of


def matches(record: dict[str, Any]) -> bool:
    """Whether a record has this format's shape."""
    return "messages" in record


def _free_form(record: dict[str, Any], key: str, reason: str) -> Any:
    try:
        return from_json_text(record.get(key))
    except BadJson:
        raise BadRecord(reason, f"`{key}` is a text that holds no JSON") from None


def read(record: dict[str, Any], source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Optional keys: `trajectory_id` or `id`, `task_id` or `instance_id`, `domain`, `success` or `resolved` (bool) or
    `reward` (1 is success). `messages` and `tools` may be JSON text, as tables have them. An assistant message
    with `weight` 0 is history only. A user that calls tools (tau2-bench's telecom) is left without these calls.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: Tools of a record that has none.

    Raises:
        BadRecord: The record cannot be read.
    """
    left_out: Counter[str] = Counter()
    raw_messages = _free_form(record, "messages", "messages_missing")
    if not isinstance(raw_messages, list):
        raise BadRecord("messages_missing", "`messages` is missing or no list")
    raw_messages, not_expert = without_media(without_user_side(raw_messages, left_out), left_out)
    messages = read_messages(raw_messages)
    tools = read_tools(_free_form(record, "tools", "bad_tools")) or default_tools
    names = [record.get("trajectory_id"), record.get("id")]
    given = next((name for name in names if isinstance(name, str) and name), None)
    weightless = {
        index: "weight_zero"
        for index, raw in enumerate(raw_messages)
        if raw.get("role") == "assistant" and isinstance(raw.get("weight"), int | float) and raw["weight"] == 0
    }
    return Trajectory(
        trajectory_id=given or trajectory_id(messages, tools),
        messages=messages,
        tools=tools,
        domain=as_text(record.get("domain")) or DEFAULT_DOMAIN,
        success=success_of(record),
        source=source,
        task_id=first_name(record, "task_id", "instance_id"),
        not_expert=not_expert | weightless,
        left_out=dict(left_out),
    )
