"""The formats that can be read, told apart by shape."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pivot.errors import UserError
from pivot.trajectory import atif, nemo_gym, openai_chat, openhands, swe_agent, tau2_bench, tau_bench, transcript
from pivot.trajectory.types import Candidate, Tool, Trajectory

Read = Callable[[dict[str, Any], str, tuple[Tool, ...]], Trajectory | Candidate]


def _itself(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield record


@dataclass(frozen=True, slots=True)
class Format:
    """One input format.

    Attributes:
        name: For `--format`.
        shape: What a record looks like, for `--help`.
        matches: Whether a record has this shape.
        read: The trajectory (or the row, cut already) of one part of a record.
        parts: The parts of a record that holds several trajectories.
    """

    name: str
    shape: str
    matches: Callable[[dict[str, Any]], bool]
    read: Read
    parts: Callable[[dict[str, Any]], Iterable[dict[str, Any]]] = _itself


# In this order: the first whose shape fits reads the record.
FORMATS = (
    Format(
        "nemo_gym",
        '{"responses_create_params": {"input": [...]}, "expected_action": {...}}  or with "response": a rollout',
        nemo_gym.matches,
        nemo_gym.read,
    ),
    Format(
        "tau2_bench",
        '{"info": {...}, "tasks": [...], "simulations": [...]}',
        tau2_bench.matches,
        tau2_bench.read,
        tau2_bench.parts,
    ),
    Format(
        "atif", '{"schema_version": "ATIF-v1.8", "agent": {...}, "steps": [...]}', atif.matches, atif.read, atif.parts
    ),
    Format("tau_bench", '{"task_id": 3, "trial": 0, "reward": 1.0, "traj": [...]}', tau_bench.matches, tau_bench.read),
    Format("tau_bench_text", '{"messages_display": "user: ...\\nassistant: ..."}', transcript.matches, transcript.read),
    Format(
        "swe_agent",
        '{"history": [{"role": ...}, ...], "trajectory": [...], "info": {...}}  (.traj)',
        swe_agent.matches,
        swe_agent.read,
        swe_agent.parts,
    ),
    Format(
        "openhands",
        '{"instance_id": "...", "history": [{"action": ...}, ...]}, or an array of events',
        openhands.matches,
        openhands.read,
    ),
    Format("openai_chat", '{"messages": [...], "tools": [...]}', openai_chat.matches, openai_chat.read),
)


def detect(record: dict[str, Any]) -> Format | None:
    """The format of a record by its keys; None when no reader knows it."""
    return next((form for form in FORMATS if form.matches(record)), None)


def format_named(name: str) -> Format:
    """The format of this name; unknown names raise `UserError` listing the names."""
    for form in FORMATS:
        if form.name == name:
            return form
    names = ", ".join(form.name for form in FORMATS)
    raise UserError(f"unknown format {name!r}; use one of {names}, or leave it out to detect it")
