"""History and tools to token ids, by the checkpoint's own chat template."""

from collections.abc import Sequence
from typing import Any, Protocol

from jinja2.exceptions import TemplateError

from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import Message, Tool


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is needed."""

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...


class PromptError(ValueError):
    """The chat template refuses a history; the message is the template's own."""


def _for_template(message: Message) -> dict[str, Any]:
    """A message as templates expect it: text instead of null, arguments as objects, which they print."""
    shown = dict(message)
    if shown.get("content") is None:
        shown["content"] = ""
    if "tool_calls" in shown:
        shown["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": _decoded(call["function"]["arguments"])}}
            for call in shown["tool_calls"]
        ]
    return shown


def _decoded(arguments: str) -> Any:
    try:
        return decode_object(arguments)
    except BadJson:
        return arguments  # an expert's broken call in the history: shown as it was written


def render_prompt(tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
    """The prompt's text, generation prompt included; raises `PromptError` as `encode_prompt` does."""
    return str(_apply(tokenizer, messages, tools, tokenize=False))


def encode_prompt(tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
    """Token ids of the prompt that asks for the next assistant turn.

    Args:
        tokenizer: A Hugging Face tokenizer with a chat template.
        messages: Canonical history.
        tools: Canonical tools; none at all is passed to the template as absence.

    Returns:
        Token ids, with the template's generation prompt at the end.

    Raises:
        PromptError: The template refuses the history (for example roles that must alternate).
    """
    return list(_apply(tokenizer, messages, tools, tokenize=True))


def _apply(tokenizer: ChatTokenizer, messages: Sequence[Message], tools: Sequence[Tool], *, tokenize: bool) -> Any:
    conversation = [_for_template(message) for message in messages]
    try:
        return tokenizer.apply_chat_template(
            conversation,
            tools=list(tools) or None,
            add_generation_prompt=True,
            tokenize=tokenize,
            return_dict=False,
        )
    except TemplateError as error:
        raise PromptError(f"the chat template refuses this history: {error}") from error
