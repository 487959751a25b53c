"""Completion text to Action by a tool parser's name."""

from collections.abc import Callable, Sequence
from typing import Any

from pivot.prompt.completion import parse_completion
from pivot.trajectory.types import Action, Tool

ParseAction = Callable[[str, Sequence[Tool]], Action]


def action_parser(name: str, tokenizer: Any) -> ParseAction:
    """The function that reads completions as the tool parser `name` does."""
    return lambda text, tools: parse_completion(text)
