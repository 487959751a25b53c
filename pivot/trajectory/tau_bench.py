"""Reader for tau-bench results: `{"task_id", "reward", "info", "traj": [...], "trial"}`, one trajectory each.

The files hold no tools; they come from a separate file.
"""

import hashlib
from typing import Any

from pivot.trajectory.identity import canonical_json, trajectory_id
from pivot.trajectory.messages import BadRecord, read_messages, read_tools
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import as_dict, is_one, stem_of


def matches(record: dict[str, Any]) -> bool:
    """Whether a record has this format's shape."""
    return "traj" in record


def _task_id(record: dict[str, Any], stem: str) -> str:
    """Equal for equal tasks also across files: results of two models on one domain number its tasks alike."""
    task = as_dict(record.get("info")).get("task")
    known = hashlib.sha256(canonical_json(task)).hexdigest()[:12] if isinstance(task, dict) else stem
    return f"{known}/task-{record.get('task_id')}"


def read(record: dict[str, Any], source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: The domain's tools.

    Raises:
        BadRecord: The record cannot be read.
    """
    if not isinstance(record.get("traj"), list):
        raise BadRecord("messages_missing", "`traj` is missing or no list")
    stem = stem_of(source)
    messages = read_messages(record["traj"])
    tools = read_tools(record.get("tools")) or default_tools
    # Results of several models have files of one name in folders of their own, so the name alone is not enough.
    content = trajectory_id(messages, tools)
    return Trajectory(
        trajectory_id=f"{stem}/task-{record.get('task_id')}/trial-{record.get('trial')}/{content}",
        messages=messages,
        tools=tools,
        domain=DEFAULT_DOMAIN,
        # As tau-bench itself counts.
        success=is_one(record.get("reward")),
        source=source,
        task_id=_task_id(record, stem),
    )
