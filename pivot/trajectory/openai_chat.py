"""Reader for OpenAI chat records: `{"messages": [...], "tools": [...]}`, one trajectory each."""

from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import read_messages, read_tools
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.types import Tool, Trajectory


def matches(record: dict[str, Any]) -> bool:
    """Whether a record has this format's shape."""
    return "messages" in record


def _success(record: dict[str, Any]) -> bool | None:
    success = record.get("success")
    if isinstance(success, bool):
        return success
    reward = record.get("reward")
    if isinstance(reward, int | float):
        return reward >= 1.0
    return None


def read(record: dict[str, Any], source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Optional keys: `trajectory_id` or `id`, `domain`, `success` (bool) or `reward` (1 is success).

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: Tools of a record that has none.

    Raises:
        BadRecord: The record cannot be read.
    """
    messages = read_messages(record.get("messages"))
    tools = read_tools(record.get("tools")) or default_tools
    names = [record.get("trajectory_id"), record.get("id")]
    given = next((name for name in names if isinstance(name, str) and name), None)
    domain = record.get("domain")
    return Trajectory(
        trajectory_id=given or trajectory_id(messages, tools),
        messages=messages,
        tools=tools,
        domain=domain if isinstance(domain, str) and domain else DEFAULT_DOMAIN,
        success=_success(record),
        source=source,
    )
