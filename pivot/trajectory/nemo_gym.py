"""Reader for NeMo-Gym rows: `{"responses_create_params": {"input": [...]}, ...}`.

A row with an `expected_action` (or `expected_answer`, the terminal's form) is cut already and stays the row that it is.
A row with a `response` alone is a whole rollout: its output is the expert.
"""

from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import BadRecord, read_tools
from pivot.trajectory.responses import from_items
from pivot.trajectory.rows import domain_of, from_row, is_cut
from pivot.trajectory.types import Candidate, Tool, Trajectory
from pivot.trajectory.untrusted import as_dict, as_name, first_name, stem_of, success_of

Record = dict[str, Any]


def matches(record: Record) -> bool:
    """Whether a record has this format's shape."""
    return "responses_create_params" in record


def read(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory | Candidate:
    """The candidate that a row is, or the trajectory that a rollout is.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: Tools of a rollout that has none; a cut row keeps its own.

    Raises:
        BadRecord: The record cannot be read.
    """
    if is_cut(record) or "response" not in record:
        return from_row(record, source)
    params = as_dict(record.get("responses_create_params"))
    output = as_dict(record.get("response")).get("output")
    if not isinstance(output, list):
        raise BadRecord("no_expected_action", "there is neither an expected action nor a `response.output`")
    history = from_items(params.get("input"))
    messages = history + from_items(output)
    tools = read_tools(params.get("tools")) or default_tools
    index = as_name(record.get("_ng_task_index"))
    task = first_name(record, "task_id", "instance_id") or (f"{stem_of(source)}/{index}" if index else None)
    return Trajectory(
        trajectory_id=f"{first_name(record, 'uuid', 'id') or stem_of(source)}/{trajectory_id(messages, tools)}",
        messages=messages,
        tools=tools,
        domain=domain_of(record),
        success=success_of(record),
        source=source,
        task_id=task,
        not_expert={index: "given_history" for index, message in enumerate(history) if message["role"] == "assistant"},
    )
