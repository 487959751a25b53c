"""History and tools to token ids, by the checkpoint's own chat template, with notes of what happened on the way."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from jinja2.exceptions import TemplateError

from pivot.errors import UserError
from pivot.prompt.completion import render_action
from pivot.prompt.probe import PromptError, TemplateProbe
from pivot.prompt.thinking import Thinking, choose_thoughts, with_thought_in_text
from pivot.prompt.truncate import head_length, possible_cuts
from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import Action, Message, Tool

OverLong = Literal["skip", "truncate"]

# What a template, a program run on a trajectory, can raise besides its own errors: `'a' + None`, items of text.
_TEMPLATE_ERRORS = (TemplateError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is needed."""

    @property
    def chat_template(self) -> Any: ...
    @property
    def eos_token(self) -> str | None: ...
    @property
    def eos_token_id(self) -> int | None: ...
    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...
    def __call__(self, text: str, **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt that asks for the next assistant turn.

    Attributes:
        tokens: Token ids, with the template's generation prompt at the end.
        notes: What is not in it as it was in the history, each at most once (docs/data.md lists them).
    """

    tokens: tuple[int, ...]
    notes: tuple[str, ...]


class PromptEncoder:
    """Makes prompts for mining, training, supervised training and evaluation alike."""

    def __init__(self, tokenizer: ChatTokenizer, *, thinking: Thinking = "keep", over_long: OverLong = "skip") -> None:
        """Takes a tokenizer with a chat template.

        Args:
            tokenizer: The checkpoint's own.
            thinking: Which thoughts of earlier turns the template is given: `keep` all, `strip` none, `last` only
                that of the newest assistant message. A template may still leave out what it is given; that is noted.
            over_long: What happens to a history with too many tokens: `skip` refuses it, `truncate` takes whole turns
                out of its middle.

        Raises:
            UserError: the tokenizer has no chat template.
        """
        if not tokenizer.chat_template:
            raise UserError("model.path: the checkpoint's tokenizer has no chat template; use one that has (instruct)")
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._over_long = over_long
        self._probe = TemplateProbe(self._text)

    @property
    def identity(self) -> str:
        """Everything that decides a prompt besides the history, for hashes."""
        return f"{self._thinking}\n{self._over_long}\n{self._tokenizer.chat_template}"

    def room(self, max_model_len: int, max_tokens: int) -> int:
        """Most tokens that a history may have in a context of `max_model_len`.

        One less than the context when long histories are skipped. When they are truncated, a whole action of
        `max_tokens` has to fit behind what is left.

        Raises:
            UserError: an action of `max_tokens` fills the context.
        """
        if self._over_long == "skip":
            return max_model_len - 1
        if max_tokens >= max_model_len:
            raise UserError(
                f"rollout.max_tokens={max_tokens} leaves no history in rollout.max_model_len={max_model_len}: "
                "prompt.over_long=truncate needs room for both"
            )
        return max_model_len - max_tokens

    def encode(self, messages: Sequence[Message], tools: Sequence[Tool], room: int) -> Prompt:
        """Token ids of the prompt after a history; depends on nothing else.

        Args:
            messages: Canonical history.
            tools: Canonical tools; none at all is passed to the template as absence.
            room: Most tokens that the prompt may have.

        Raises:
            PromptError: the template refuses the history (roles that must alternate, null where it wants text), or it
                has more than `room` tokens and is not to be, or cannot be, truncated.
        """
        conversation, notes = self._conversation(messages)
        tokens = self._tokens(conversation, tools)
        if len(tokens) > room:
            conversation, tokens = self._shorten(conversation, tools, room, len(tokens))
            notes.append("truncated")
        notes += self._probe.dropped(conversation, bool(tools))
        return Prompt(tokens, tuple(notes))

    def text(self, messages: Sequence[Message], tools: Sequence[Tool]) -> str:
        """The prompt's text, whatever its length; raises `PromptError` as `encode` does."""
        return self._text(self._conversation(messages)[0], tools)

    def answer(self, messages: Sequence[Message], tools: Sequence[Tool], action: Action) -> list[int]:
        """Token ids of an action as the answer to the prompt, end of turn included: what supervised training predicts.

        The text is what the template prints when the action follows the history, less the prompt. Where the template
        rewrites the past, leaves out calls or refuses the message, it is `render_action`'s.
        """
        text = self.answer_text(messages, tools, action)
        if text is None:
            text = render_action(action)
        tokens = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        end = self._tokenizer.eos_token_id
        return tokens if end is None else [*tokens, end]

    def answer_text(self, messages: Sequence[Message], tools: Sequence[Tool], action: Action) -> str | None:
        """What the template prints for an action after a history, without the end of turn; None where it doesn't."""
        history = self._conversation(messages)[0]
        try:
            prompt = self._text(history, tools)
            whole = self._text([*history, _for_template(_as_message(action))], tools, ask=False)
        except PromptError:
            return None
        answer = whole.removeprefix(prompt)
        said = [(action.content or "").strip(), *(call.name for call in action.calls)]
        if not whole.startswith(prompt) or not all(part in answer for part in said):
            return None  # it rewrites the past, or leaves out what it can't print
        end = self._tokenizer.eos_token
        last = answer.rfind(end) if end else -1
        # Templates that end a turn with another token than the tokenizer's leave it in the text.
        return answer.rstrip() if last == -1 else answer[:last]

    def _conversation(self, messages: Sequence[Message]) -> tuple[list[Message], list[str]]:
        """The messages as they are given to the template, and notes of what was changed."""
        chosen, stripped = choose_thoughts(messages, self._thinking)
        notes = ["thinking_stripped"] if stripped else []
        if any(message.get("reasoning_content") for message in chosen):
            key = self._probe.reasoning_key()
            if key is None:
                notes.append("thinking_embedded")
            chosen = [_with_thought(message, key) for message in chosen]
        conversation = [_for_template(message) for message in chosen]
        if any(m.get("tool_calls") and not m["content"] for m in conversation) and not self._probe.null_is_empty():
            notes.append("empty_text_for_null")
        return conversation, notes

    def _shorten(
        self, conversation: list[Message], tools: Sequence[Tool], room: int, length: int
    ) -> tuple[list[Message], tuple[int, ...]]:
        """The history with as few of its older turns taken out as fit."""
        over_long = PromptError("over_long_history", f"the history has {length} tokens, {room} fit")
        cuts = possible_cuts(conversation) if self._over_long == "truncate" else []
        head = conversation[: head_length(conversation)]
        tried: dict[int, tuple[int, ...]] = {}

        def fits(index: int) -> bool:
            tried[index] = self._tokens([*head, *conversation[index:]], tools)
            return len(tried[index]) <= room

        best = bisect_left(cuts, True, key=fits)
        if best == len(cuts):
            raise over_long
        return [*head, *conversation[cuts[best] :]], tried[cuts[best]]

    def _tokens(self, conversation: Sequence[Message], tools: Sequence[Tool]) -> tuple[int, ...]:
        return tuple(self._apply(conversation, tools, ask=True, tokenize=True))

    def _text(self, conversation: Sequence[Message], tools: Sequence[Tool], ask: bool = True) -> str:
        return str(self._apply(conversation, tools, ask=ask, tokenize=False))

    def _apply(self, conversation: Sequence[Message], tools: Sequence[Tool], *, ask: bool, tokenize: bool) -> Any:
        try:
            return self._tokenizer.apply_chat_template(
                list(conversation),
                tools=list(tools) or None,
                add_generation_prompt=ask,
                tokenize=tokenize,
                return_dict=False,
            )
        except _TEMPLATE_ERRORS as error:
            raise PromptError("refused_by_chat_template", f"the chat template refuses this history: {error}") from error


def _with_thought(message: Message, key: str | None) -> Message:
    """The message with its thought where the template reads it: under `key`, or in the text when it reads no key."""
    if not message.get("reasoning_content") or key == "reasoning_content":
        return message
    if key is None:
        return with_thought_in_text(message)
    renamed = {name: value for name, value in message.items() if name != "reasoning_content"}
    return {**renamed, key: message["reasoning_content"]}


def _as_message(action: Action) -> Message:
    calls = [
        {"id": f"call_{index}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for index, call in enumerate(action.calls)
    ]
    message: Message = {"role": "assistant", "content": action.content or ""}
    return {**message, "tool_calls": calls} if calls else message


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
