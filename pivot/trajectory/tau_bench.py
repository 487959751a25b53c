"""Reader for tau-bench results: `{"task_id", "reward", "info", "traj": [...], "trial"}`, one trajectory each.

The files hold no tools; they come from a separate file.
"""

from pathlib import PurePath
from typing import Any

from pivot.trajectory.messages import BadRecord, read_messages, read_tools
from pivot.trajectory.rows import DEFAULT_DOMAIN
from pivot.trajectory.types import Tool, Trajectory


def matches(record: dict[str, Any]) -> bool:
    """Whether a record has this format's shape."""
    return "traj" in record


def read(record: dict[str, Any], source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Args:
        record: Untrusted.
        source: `file:number of the record`.
        default_tools: The domain's tools.

    Raises:
        BadRecord: The record cannot be read.
    """
    if not isinstance(record.get("traj"), list):
        raise BadRecord("messages_missing", "`traj` is missing or no list")
    reward = record.get("reward")
    stem = PurePath(source.rpartition(":")[0]).stem
    return Trajectory(
        trajectory_id=f"{stem}/task-{record.get('task_id')}/trial-{record.get('trial')}",
        messages=read_messages(record["traj"]),
        tools=read_tools(record.get("tools")) or default_tools,
        domain=DEFAULT_DOMAIN,
        # tau-bench itself counts a reward within 1e-6 of 1 as success.
        success=abs(reward - 1.0) <= 1e-6 if isinstance(reward, int | float) else None,
        source=source,
    )
