"""The text between a policy and its actions: history to prompt tokens, completion to Action and back."""

from pivot.prompt.completion import parse_completion, render_action, strip_thinking
from pivot.prompt.encode import PromptError, encode_prompt, render_prompt
from pivot.prompt.parsers import ParseAction, action_parser

__all__ = [
    "ParseAction",
    "PromptError",
    "action_parser",
    "encode_prompt",
    "parse_completion",
    "render_action",
    "render_prompt",
    "strip_thinking",
]
