"""Events of the OpenHands agent SDK: objects told apart by `kind`."""

from typing import Any

from pivot.trajectory.events import Episode
from pivot.trajectory.messages import BadRecord, read_tools
from pivot.trajectory.untrusted import as_dict, as_json, as_list, as_name, as_text, objects

Event = dict[str, Any]


def _text(parts: Any, episode: Episode) -> str:
    """Text of content parts; other media are noted."""
    if isinstance(parts, str):
        return parts
    texts = []
    for part in objects(parts):
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            episode.see_other_media("images")
    return "".join(texts)


def _add_system(episode: Episode, event: Event) -> None:
    texts = [as_text(as_dict(event.get(key)).get("text")) for key in ("system_prompt", "dynamic_context")]
    episode.add({"role": "system", "content": "\n\n".join(text for text in texts if text)})
    schemas = [tool for tool in objects(event.get("tools")) if "function" in tool or "parameters" in tool]
    if len(schemas) == len(as_list(event.get("tools"))):
        episode.tools = episode.tools or read_tools(schemas)
    else:
        episode.leave_out("tools_without_schema")


def _add_message(episode: Episode, event: Event) -> None:
    message = as_dict(event.get("llm_message"))
    added = _text(event.get("extended_content"), episode)
    content = _text(message.get("content"), episode) + added
    role = as_text(message.get("role")) or ("assistant" if event.get("source") == "agent" else "user")
    episode.add({**message, "role": role, "content": content})


def _add_action(episode: Episode, event: Event, previous: Event | None) -> None:
    """A call; one behind another of the same response joins its message."""
    call = as_dict(event.get("tool_call"))
    function = as_dict(call.get("function")) or call
    name = as_text(function.get("name")) or as_text(event.get("tool_name"))
    arguments = function.get("arguments")
    if arguments is None:
        arguments = {key: value for key, value in as_dict(event.get("action")).items() if key != "kind"}
    call_id = as_text(event.get("tool_call_id")) or as_text(call.get("id"))
    raw = {
        "id": call_id,
        "function": {"name": name, "arguments": arguments if isinstance(arguments, str) else as_json(arguments)},
    }
    response_id = as_name(event.get("llm_response_id"))
    same = previous is not None and response_id is not None and response_id == as_name(previous.get("llm_response_id"))
    if same:
        episode.extend_last(raw)
        return
    content = _text(event.get("thought"), episode)
    reasoning = event.get("reasoning_content")
    episode.add({"role": "assistant", "content": content, "reasoning_content": reasoning, "tool_calls": [raw]})


def _result(episode: Episode, event: Event, kind: str) -> str:
    if kind == "AgentErrorEvent":
        return as_text(event.get("error")) or ""
    if kind == "UserRejectObservation":
        return f"Action rejected: {as_text(event.get('rejection_reason')) or ''}"
    observation = as_dict(event.get("observation"))
    shown = observation.get("content", observation.get("output"))
    if shown is None:
        shown = as_json({key: value for key, value in observation.items() if key != "kind"})
    return _text(shown, episode) + _text(event.get("extended_content"), episode)


def add_events(episode: Episode, events: list[Any]) -> None:
    """Append the messages that these events were to the model.

    Raises:
        BadRecord: An event is no object.
    """
    previous: Event | None = None
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise BadRecord("bad_event", f"event {number} is no object")
        kind = as_text(event.get("kind")) or "?"
        if kind == "ActionEvent":
            _add_action(episode, event, previous)
        elif kind == "SystemPromptEvent":
            _add_system(episode, event)
        elif kind == "MessageEvent":
            _add_message(episode, event)
        elif kind in ("ObservationEvent", "AgentErrorEvent", "UserRejectObservation"):
            result = _result(episode, event, kind)
            episode.add({"role": "tool", "tool_call_id": event.get("tool_call_id"), "content": result})
        else:
            episode.leave_out("condensation" if kind == "Condensation" else "event_other")
        previous = event if kind == "ActionEvent" else None
