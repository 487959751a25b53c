"""Builds a trajectory from a stream of agent events, whatever they are called."""

from collections import Counter
from typing import Any

from pivot.trajectory.identity import trajectory_id
from pivot.trajectory.messages import read_messages
from pivot.trajectory.types import Tool, Trajectory
from pivot.trajectory.untrusted import as_list

Raw = dict[str, Any]


class Episode:
    """Raw chat messages so far, which of them are no turns of the expert, and what could not be taken along.

    Attributes:
        tools: Tools that the events name.
    """

    def __init__(self) -> None:
        self.tools: tuple[Tool, ...] = ()
        self._raw: list[Raw] = []
        self._responses: set[str] = set()
        self._calls: dict[str, str] = {}  # event -> call
        self._open: list[str] = []  # calls of our own without a result
        self._not_expert: dict[int, str] = {}
        self._left_out: Counter[str] = Counter()
        self._unseen: str | None = None

    def leave_out(self, kind: str) -> None:
        """Count a part of the source that is in no message."""
        self._left_out[kind] += 1

    def see_other_media(self, kind: str) -> None:
        """From here on the agent had seen what no text can say: later turns are history only."""
        self._left_out[kind] += 1
        self._unseen = "multimodal_history"

    def add(self, raw: Raw, not_expert: str | None = None) -> None:
        """Append a raw chat message; an assistant's with the reason why it is no turn of the expert, if so."""
        reason = not_expert or self._unseen
        if raw.get("role") == "assistant" and reason:
            self._not_expert[len(self._raw)] = reason
        if raw.get("role") == "tool" and raw.get("tool_call_id") in self._open:
            self._open.remove(raw["tool_call_id"])
        self._raw.append(raw)

    def add_response(self, response_id: str | None, message: Raw) -> None:
        """Append the model's own response; of several events with one response the first brings it."""
        if response_id is not None and response_id in self._responses:
            return
        if response_id is not None:
            self._responses.add(response_id)
        self.add({**message, "role": "assistant"})

    def extend_last(self, call: Raw) -> None:
        """Add a parallel call to the last message."""
        last = self._raw[-1]
        last["tool_calls"] = [*as_list(last.get("tool_calls")), call]

    def add_call(self, name: str, arguments: str, thought: str | None, event_id: str | None) -> None:
        """Append a call that an event stands for, under an id of our own."""
        call_id = f"event_{len(self._raw)}"
        self._open.append(call_id)
        if event_id is not None:
            self._calls[event_id] = call_id
        call = {"id": call_id, "function": {"name": name, "arguments": arguments}}
        self.add({"role": "assistant", "content": thought, "tool_calls": [call]})

    def call_of(self, event_id: str | None) -> str | None:
        """The call that an observation answers: that of the event which caused it, else the open one."""
        if event_id is not None and event_id in self._calls:
            return self._calls[event_id]
        return self._open[-1] if self._open else None

    def trajectory(
        self,
        *,
        name: str,
        task_id: str | None,
        domain: str,
        success: bool | None,
        source: str,
        default_tools: tuple[Tool, ...],
    ) -> Trajectory:
        """The whole episode; `name` and a content hash are its id. Raises `BadRecord` as `read_messages` does."""
        messages = read_messages(self._raw)
        tools = self.tools or default_tools
        return Trajectory(
            trajectory_id=f"{name}/{trajectory_id(messages, tools)}",
            messages=messages,
            tools=tools,
            domain=domain,
            success=success,
            source=source,
            task_id=task_id,
            not_expert=self._not_expert,
            left_out=dict(self._left_out),
        )
