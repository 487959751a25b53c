"""The formats that can be read, told apart by shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pivot.errors import UserError
from pivot.trajectory import openai_chat, tau_bench
from pivot.trajectory.types import Tool, Trajectory


@dataclass(frozen=True, slots=True)
class Format:
    """One input format."""

    name: str
    matches: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any], str, tuple[Tool, ...]], Trajectory]


FORMATS = (
    Format("openai_chat", openai_chat.matches, openai_chat.read),
    Format("tau_bench", tau_bench.matches, tau_bench.read),
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
