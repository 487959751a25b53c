"""Reader for OpenHands: outputs and exports with a list of events, and logs of single model calls.

Events come in two generations: `action` / `observation` (in older outputs as pairs), and `kind` (the agent SDK,
`pivot.trajectory.openhands_sdk`). A log of a call holds `messages` and `response`, and is a whole history itself.
"""

from collections.abc import Iterator
from typing import Any

from pivot.trajectory import openhands_sdk
from pivot.trajectory.events import Episode
from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import BadRecord, read_messages, read_tools
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import (
    as_dict,
    as_json,
    as_list,
    as_name,
    as_text,
    file_of,
    first_name,
    objects,
    stem_of,
    success_of,
)

DOMAIN = "swe"

Record = dict[str, Any]

# What the agent's tools are called, by the action that a call of one became.
_TOOL_NAMES = {
    "run": "execute_bash",
    "run_ipython": "execute_ipython_cell",
    "browse": "web_read",
    "browse_interactive": "browser",
    "edit": "str_replace_editor",
    "read": "str_replace_editor",
}
# Fields of an action that are no arguments of the model's call.
_BOOKKEEPING = frozenset(
    {"thought", "blocking", "keep_prompt", "hidden", "confirmation_state", "is_confirmed", "security_risk", "timeout",
     "is_static", "cwd", "is_input", "include_extra", "kernel_init_code", "impl_source", "images_urls", "image_urls",
     "wait_for_response", "return_axtree"}
)  # fmt: skip
_RENAMED = {"browser_actions": "code", "final_thought": "message"}
_UNSPOKEN = ("change_agent_state", "agent_state_changed", "null", "recall", "condensation", "loaded_messages")


def _events(record: Record) -> list[Any]:
    value = record.get("history") if "history" in record else record.get("trajectory")
    return as_list(value)


def _is_event(value: Any) -> bool:
    if isinstance(value, list):
        return any(_is_event(item) for item in value)
    return (
        isinstance(value, dict)
        and "role" not in value
        and not value.keys().isdisjoint(("action", "observation", "kind"))
    )


def _is_call_log(record: Record) -> bool:
    return "choices" in as_dict(record.get("response")) and ("messages" in record or "fncall_messages" in record)


def matches(record: Record) -> bool:
    """Whether a record has this format's shape."""
    return _is_call_log(record) or any(_is_event(event) for event in _events(record))


def read(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record.

    Actions without the model's own response (the older agent wrote `<execute_bash>` into its text) are read as the
    calls of the tools that they stand for.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: Tools of a record that has none.

    Raises:
        BadRecord: The record cannot be read.
    """
    if _is_call_log(record):
        return _read_call_log(record, source, default_tools)
    events = _events(record)
    episode = Episode()
    if any("kind" in event for event in objects(events)):
        openhands_sdk.add_events(episode, events)
    else:
        _add_events(episode, _flat(events))
    instance = as_dict(record.get("instance"))
    task = first_name(record, "instance_id") or first_name(instance, "instance_id")
    return episode.trajectory(
        name=task or stem_of(source),
        task_id=task,
        domain=DOMAIN,
        success=_success(record),
        source=source,
        default_tools=default_tools,
    )


def _success(record: Record) -> bool | None:
    results = as_dict(record.get("test_result"))
    for place in (record, as_dict(record.get("report")), as_dict(results.get("report")), results):
        said = success_of(place)
        if said is not None:
            return said
    return None


def _read_call_log(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """The history of a call and its answer. All calls of an episode share its trajectory: their folder."""
    native = "fncall_messages" in record  # before the tools were written into the prompt for models without tools
    raw_messages = record.get("fncall_messages" if native else "messages")
    response = as_dict(record.get("fncall_response")) or as_dict(record.get("response"))
    choice = next(objects(response.get("choices")), None)
    if choice is None:
        raise BadRecord("messages_missing", "`response.choices` is empty or no list")
    if not isinstance(raw_messages, list):
        raise BadRecord("messages_missing", "`messages` is missing or no list")
    answer = {"role": "assistant", **as_dict(choice.get("message"))}
    messages = read_messages([*raw_messages, answer])
    raw_tools = record.get("tools") or as_dict(record.get("kwargs")).get("tools")
    name = first_name(record, "instance_id") or as_text(file_of(source).parent.name)
    tools = read_tools(raw_tools) or default_tools
    return Trajectory(
        trajectory_id=name or trajectory_id(messages, tools),
        messages=messages,
        tools=tools,
        domain=DOMAIN,
        success=success_of(record),
        source=source,
        task_id=name,
    )


def _flat(events: list[Any]) -> Iterator[Any]:
    """Events in order, out of pairs of an action and its observation too."""
    for event in events:
        yield from event if isinstance(event, list) else [event]


def _add_events(episode: Episode, events: Iterator[Any]) -> None:
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise BadRecord("bad_event", f"event {number} is no object")
        if "action" in event:
            _add_action(episode, event)
        elif "observation" in event:
            _add_observation(episode, event)
        else:
            episode.leave_out("event_other")


def _add_action(episode: Episode, event: Record) -> None:
    arguments = as_dict(event.get("args"))
    kind = as_text(event.get("action")) or "?"
    by_agent = event.get("source") == "agent"
    metadata = as_dict(event.get("tool_call_metadata"))
    choice = next(objects(as_dict(metadata.get("model_response")).get("choices")), None)
    if arguments.get("image_urls") or arguments.get("images_urls"):
        episode.see_other_media("images")
    if by_agent and choice is not None:
        response_id = as_name(as_dict(metadata["model_response"]).get("id"))
        episode.add_response(response_id, as_dict(choice.get("message")))
    elif kind == "system":
        episode.add({"role": "system", "content": arguments.get("content")})
        episode.tools = episode.tools or read_tools(arguments.get("tools"))
    elif kind == "message":
        episode.add({"role": "assistant" if by_agent else "user", "content": arguments.get("content")})
    elif kind in _UNSPOKEN:
        episode.leave_out(f"event_{kind}")
    elif by_agent:
        call = {_RENAMED.get(key, key): value for key, value in arguments.items() if key not in _BOOKKEEPING}
        call = {key: value for key, value in call.items() if value not in (None, "", {}, [])}
        name = _TOOL_NAMES.get(kind, kind)
        thought = as_text(arguments.get("thought")) or as_text(as_dict(arguments.get("thought")).get("text"))
        episode.add_call(name, as_json(call), thought, as_name(event.get("id")))
    elif kind == "run":
        episode.add({"role": "user", "content": f"User executed the command:\n{arguments.get('command')}"})
    else:
        episode.leave_out("event_other")


def _observed(event: Record, kind: str) -> str:
    """What the agent was shown of an observation."""
    text = as_text(event.get("content")) or ""
    extras = as_dict(event.get("extras"))
    shell = as_dict(extras.get("metadata"))
    if kind == "run":
        text = f"{as_text(shell.get('prefix')) or ''}{text}{as_text(shell.get('suffix')) or ''}"
        if as_text(shell.get("working_dir")):
            text += f"\n[Current working directory: {shell['working_dir']}]"
        if as_text(shell.get("py_interpreter_path")):
            text += f"\n[Python interpreter: {shell['py_interpreter_path']}]"
        code = as_name(shell.get("exit_code", extras.get("exit_code")))
        if code not in (None, "-1"):
            text += f"\n[Command finished with exit code {code}]"
    elif kind == "error":
        text += "\n[Error occurred in processing last action]"
    elif kind == "user_rejected":
        text += "\n[Last action has been rejected by the user]"
    return text


def _add_observation(episode: Episode, event: Record) -> None:
    kind = as_text(event.get("observation")) or "?"
    if kind in _UNSPOKEN:
        episode.leave_out(f"event_{kind}")
        return
    if as_dict(event.get("extras")).get("image_urls"):
        episode.see_other_media("images")
    call_id = as_text(as_dict(event.get("tool_call_metadata")).get("tool_call_id"))
    call_id = call_id or episode.call_of(as_name(event.get("cause")))
    text = _observed(event, kind)
    if call_id is not None:
        episode.add({"role": "tool", "tool_call_id": call_id, "content": text})
    else:
        episode.add({"role": "user", "content": text})
