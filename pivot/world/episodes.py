"""Whole episodes: a scripted customer, the simulator and the judge, for many tasks in lock-step."""

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivot.trajectory.types import Action, Message, Tool
from pivot.world.orders import CLOSED, POLICY, STATUSES, TOOLS, WRITING_TOOLS, execute
from pivot.world.tasks import Task

MAX_TURNS = 10
Respond = Callable[[list[tuple[tuple[Message, ...], tuple[Tool, ...]]]], list[Action]]
"""Maps a batch of (messages, tools) to one action each."""

_STATUS_WORDS = CLOSED.union(STATUSES)


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """How one episode ended.

    Attributes:
        task_seed: Seed of the task.
        kind: Kind of the task.
        success: Whether the state is exactly the goal, with consent, and the answer holds the facts.
        reason: `success`, `wrong_state`, `unconfirmed`, `missing_fact`, `malformed` or `turn_limit`.
        turns: Number of agent actions.
        messages: The whole conversation.
    """

    task_seed: int
    kind: str
    success: bool
    reason: str
    turns: int
    messages: tuple[Message, ...]


class Episode:
    """One running conversation. `apply` each action until `reason` is set."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.state = copy.deepcopy(task.state)
        self.messages: list[Message] = [
            {"role": "system", "content": POLICY},
            {"role": "user", "content": task.request},
        ]
        self.turns = 0
        self.reason: str | None = None
        self._replies_given = 0
        self._wrote_unconfirmed = False

    def apply(self, action: Action) -> None:
        """Append one agent action and what the desk or the customer answers to it."""
        self.turns += 1
        if action.malformed is not None:
            self.messages.append({"role": "assistant", "content": action.content or ""})
            self.reason = "malformed"
        elif action.calls:
            self._call(action)
        else:
            self._say(action.content or "")

    def _call(self, action: Action) -> None:
        ids = [f"call_{self.turns}_{index}" for index in range(len(action.calls))]
        self.messages.append(assistant_message(action, ids))
        for call_id, call in zip(ids, action.calls, strict=True):
            if call.name in WRITING_TOOLS and self._replies_given < len(self.task.replies):
                self._wrote_unconfirmed = True
            result = execute(self.state, call)
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": result})

    def _say(self, content: str) -> None:
        self.messages.append({"role": "assistant", "content": content})
        # A question gets the customer's next reply; a statement, or a question too many, ends the episode.
        if "?" in content and self._replies_given < len(self.task.replies):
            self.messages.append({"role": "user", "content": self.task.replies[self._replies_given]})
            self._replies_given += 1
        else:
            self.reason = self._judge(content)

    def _judge(self, last_message: str) -> str:
        if self.state != self.task.goal:
            return "wrong_state"
        must_ask = self.task.outcome not in ("answer", "refuse")
        if self._wrote_unconfirmed or (must_ask and self._replies_given < len(self.task.replies)):
            return "unconfirmed"
        words = set(re.findall(r"\w+", last_message))
        facts = set(self.task.facts)
        # Naming every status would hold the right one too; a status that is not a fact spoils the answer.
        if facts and (not facts <= words or (words & _STATUS_WORDS) - facts):
            return "missing_fact"
        return "success"

    def result(self) -> EpisodeResult:
        """The result so far; an episode without an end counts as `turn_limit`."""
        reason = self.reason or "turn_limit"
        return EpisodeResult(
            self.task.seed, self.task.kind, reason == "success", reason, self.turns, tuple(self.messages)
        )


def assistant_message(action: Action, call_ids: Sequence[str]) -> Message:
    """The OpenAI chat form of an action with tool calls."""
    calls = [
        {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call_id, call in zip(call_ids, action.calls, strict=True)
    ]
    return {"role": "assistant", "content": action.content, "tool_calls": calls}


def run_episodes(tasks: Sequence[Task], respond: Respond, max_turns: int = MAX_TURNS) -> list[EpisodeResult]:
    """Run all tasks in lock-step: every round asks `respond` once, for all episodes that still run.

    Args:
        tasks: The tasks.
        respond: The agent; gets snapshots of the running conversations, in the tasks' order.
        max_turns: Actions an episode may take.

    Returns:
        One result a task, in order; a function of tasks and responses only.
    """
    episodes = [Episode(task) for task in tasks]
    for _ in range(max_turns):
        running = [episode for episode in episodes if episode.reason is None]
        if not running:
            break
        actions = respond([(tuple(episode.messages), TOOLS) for episode in running])
        for episode, action in zip(running, actions, strict=True):
            episode.apply(action)
    return [episode.result() for episode in episodes]
