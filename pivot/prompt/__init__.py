"""The text between a policy and its actions: history to prompt tokens, completion to Action and back."""

from pivot.prompt.completion import parse_completion, render_action
from pivot.prompt.encode import Prompt, PromptEncoder
from pivot.prompt.parsers import ParseAction, action_parser
from pivot.prompt.probe import PromptError
from pivot.prompt.thinking import strip_thinking

__all__ = [
    "ParseAction",
    "Prompt",
    "PromptEncoder",
    "PromptError",
    "action_parser",
    "parse_completion",
    "render_action",
    "strip_thinking",
]
