"""The shared vocabulary: a trajectory is cut at every assistant turn into candidates."""

from dataclasses import dataclass, field
from typing import Any

# Plain dicts in OpenAI chat form; `pivot.trajectory.messages` says which keys the canonical form has.
Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of one tool.

    Attributes:
        name: The tool's name.
        arguments: The JSON text of the arguments object, exactly as it was produced.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Action:
    """A whole assistant completion at one model call.

    Attributes:
        content: The text to the user; None for an action that only calls tools.
        calls: The tool calls in the order in which they were written.
        malformed: Why a tool call could not be read; then `calls` is empty and `content` is the visible text.
    """

    content: str | None
    calls: tuple[ToolCall, ...] = ()
    malformed: str | None = None

    @property
    def kind(self) -> str:
        """`message`, `function_call` or `function_call_batch`, as NeMo-Gym names them."""
        if not self.calls:
            return "message"
        return "function_call" if len(self.calls) == 1 else "function_call_batch"


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One whole episode of an expert.

    Attributes:
        trajectory_id: Stable name; train and validation are split by it.
        messages: OpenAI chat messages in canonical form.
        tools: OpenAI function tools in canonical form.
        domain: What chooses the verifier, for example `tool_use`.
        success: Whether the episode reached its goal; None when the source does not say.
        source: `file:line`, with `[n]` behind it for the n-th of several records on one line.
        task_id: What the episode was to solve; several trials of one task share it. None when the source does not say.
        not_expert: Assistant messages that are history only, by their index in `messages`, with the reason (a
            demonstration, a scripted greeting, context copied from another trajectory).
        left_out: How many parts of the source are not in `messages`, by kind (images, calls that the user made).
    """

    trajectory_id: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    domain: str
    success: bool | None
    source: str
    task_id: str | None = None
    not_expert: dict[int, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One assistant turn: the history before it and the expert's action.

    Attributes:
        candidate_id: Content hash of history, tools and action (`pivot.trajectory.identity`).
        trajectory_id: The trajectory that it was cut from.
        turn: Index of this turn among the assistant turns of the trajectory, from 0.
        turns: Number of assistant turns of the trajectory.
        messages: The history; never holds the expert's action.
        tools: Tools on offer.
        expected: The expert's action.
        domain: See `Trajectory`.
        success: See `Trajectory`.
        source: See `Trajectory`.
        task_id: See `Trajectory`.
        extra: Fields of the row that it was read from which its other attributes do not hold, as they stood there.
    """

    candidate_id: str
    trajectory_id: str
    turn: int
    turns: int
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...]
    expected: Action
    domain: str
    success: bool | None
    source: str
    task_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skip:
    """An assistant turn that is no candidate, with the machine-readable reason."""

    reason: str
    source: str
    turn: int
