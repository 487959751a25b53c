"""Reader for ATIF, the Agent Trajectory Interchange Format (`{"schema_version": "ATIF-v1.8", "agent", "steps"}`).

Records are validated by the models of the package `atif`. Embedded subagents are trajectories of their own; a path to
one is never followed. Images and audio cannot be text: turns after the first one are history only.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pivot.trajectory.events import Episode
from pivot.trajectory.messages import BadRecord, read_tools
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import as_dict, as_json, as_name, as_text, first_name, objects, success_of

if TYPE_CHECKING:
    import atif

Record = dict[str, Any]

# Agents that work on a repository by tool calls; others act on anything.
_CODING_AGENTS = frozenset(
    {"openhands", "swe-agent", "mini-swe-agent", "claude-code", "codex", "aider", "goose", "opencode", "gemini-cli",
     "qwen-code", "qwen-coder", "cursor-cli", "kimi-cli", "copilot-cli"}
)  # fmt: skip
_TERMINUS = "terminus"
_KEYSTROKES, _COMPLETE = "bash_command", "mark_task_complete"


def matches(record: Record) -> bool:
    """Whether a record has this format's shape."""
    version = record.get("schema_version")
    return isinstance(version, str) and version.startswith("ATIF") and "steps" in record


def parts(record: Record) -> Iterator[Record]:
    """The trajectory, then each embedded subagent's, with ids that name their parents."""
    pending = [record]
    while pending:
        one = pending.pop(0)
        nested = list(objects(one.get("subagent_trajectories")))
        name = as_text(one.get("trajectory_id")) or as_text(one.get("session_id")) or ""
        for sub in nested:
            pending.append({**sub, "trajectory_id": f"{name}/{as_text(sub.get('trajectory_id')) or ''}"})
        yield {key: value for key, value in one.items() if key != "subagent_trajectories"}


def _validated(record: Record) -> "atif.Trajectory":
    import atif
    from pydantic import ValidationError

    try:
        return atif.Trajectory.model_validate(record)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the record"
        detail = f"{where}: {first['msg']}".replace("\n", " ")[:300]
        raise BadRecord("invalid_atif", detail.encode("utf-8", "replace").decode()) from None


def _text(content: "str | list[atif.ContentPart] | None", episode: Episode) -> str:
    """Text of a message or result; other media are noted."""
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.type != "text":
            episode.see_other_media(f"{part.type}s" if part.type == "image" else part.type)
    return "".join(part.text or "" for part in content)


def _not_expert(step: "atif.Step") -> str | None:
    if step.is_copied_context:
        return "copied_context"
    if step.llm_call_count == 0:
        return "not_generated"
    return "several_model_calls" if (step.llm_call_count or 1) > 1 else None


def _as_terminus(step: "atif.Step", text: str) -> str | None:
    """The JSON that the Terminus agent wrote, rebuilt from what its converter made of it; None when it is not that."""
    calls = step.tool_calls or []
    if not calls or any(call.function_name not in (_KEYSTROKES, _COMPLETE) for call in calls):
        return None
    head, _, plan = text.partition("\nPlan: ")
    commands = [
        {key: call.arguments[key] for key in ("keystrokes", "duration") if key in call.arguments}
        for call in calls
        if call.function_name == _KEYSTROKES
    ]
    done = any(call.function_name == _COMPLETE for call in calls)
    written = {
        "analysis": head.removeprefix("Analysis: "),
        "plan": plan,
        "commands": commands,
        **({"task_complete": True} if done else {}),
    }
    return as_json(written)


def _add_results(episode: Episode, step: "atif.Step", calls: list[str]) -> None:
    open_calls = list(calls)
    for result in step.observation.results if step.observation else ():
        for reference in result.subagent_trajectory_ref or ():
            episode.leave_out("subagent_file" if reference.trajectory_path else "subagent_reference")
        call_id = result.source_call_id or (open_calls[0] if open_calls else None)
        content = _text(result.content, episode)
        if call_id in open_calls:
            open_calls.remove(call_id)
            episode.add({"role": "tool", "tool_call_id": call_id, "content": content})
        else:
            episode.add({"role": "user", "content": content})


def _add_step(episode: Episode, step: "atif.Step", *, terminus: bool) -> None:
    content = _text(step.message, episode)
    if step.source != "agent":
        episode.add({"role": step.source, "content": content})
        _add_results(episode, step, [])
        return
    written = _as_terminus(step, content) if terminus else None
    calls = [] if written is not None else step.tool_calls or []
    raw: Record = {"role": "assistant", "content": content if written is None else written}
    if step.reasoning_content:
        raw["reasoning_content"] = step.reasoning_content
    raw["tool_calls"] = [
        {"id": call.tool_call_id, "function": {"name": call.function_name, "arguments": call.arguments}}
        for call in calls
    ]
    episode.add(raw, _not_expert(step))
    _add_results(episode, step, [call.tool_call_id for call in calls])


def _domain(agent: "atif.Agent") -> str:
    name = agent.name.lower()
    if name.startswith(_TERMINUS):
        return "terminal"
    return "swe" if name in _CODING_AGENTS else "tool_use"


def read(record: Record, source: str, default_tools: tuple[Tool, ...]) -> Trajectory:
    """One trajectory of a record, without its subagents.

    Steps of the Terminus agent, which converters split into calls, are put together again as the JSON that it writes.

    Args:
        record: Untrusted.
        source: `file:line`.
        default_tools: Tools of a record that has none.

    Raises:
        BadRecord: The record is no valid ATIF, or cannot be read.
    """
    document = _validated(record)
    terminus = document.agent.name.lower().startswith(_TERMINUS)
    episode = Episode()
    if document.agent.tool_definitions:
        episode.tools = read_tools(document.agent.tool_definitions)
    for step in document.steps:
        _add_step(episode, step, terminus=terminus)
    if document.continued_trajectory_ref:
        episode.leave_out("continuation_file")
    extra = as_dict(record.get("extra"))
    results = [extra, as_dict(as_dict(record.get("final_metrics")).get("extra"))]
    return episode.trajectory(
        name=as_name(document.trajectory_id) or as_name(document.session_id) or "atif",
        task_id=first_name(extra, "task_id", "instance_id", "task_name"),
        domain=_domain(document.agent),
        success=next((said for place in results if (said := success_of(place)) is not None), None),
        source=source,
        default_tools=default_tools,
    )
