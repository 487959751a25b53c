"""Completion text to Action, by vLLM's own tool parsers."""

import difflib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from pivot.errors import UserError
from pivot.prompt.completion import Malformed, read_calls
from pivot.prompt.encode import PromptEncoder
from pivot.prompt.forms import FORMS
from pivot.prompt.thinking import strip_thinking
from pivot.trajectory.strict_json import BadJson, decode_object, is_unicode
from pivot.trajectory.types import Action, Tool, ToolCall

ParseAction = Callable[[str, Sequence[Tool]], Action]

# What vLLM's parsers are seen to raise, or can, on text that they didn't expect; most catch everything themselves.
_PARSER_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, SyntaxError, TypeError, ValueError,
)  # fmt: skip
_TOOL_SETS = 32

_TOOL: Tool = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
_CALL = Action(None, (ToolCall("get_weather", '{"city": "Oslo", "days": 2}'),))


def action_parser(name: str, tokenizer: Any) -> ParseAction:
    """The function that reads completions as vLLM's tool parser `name` does, and says when a call is broken.

    Thoughts are stripped first. What the parser takes for calls are the action's calls; what it takes for a message
    although a call was begun, or takes for a call although it was not ended, is malformed. Imports vLLM; programs
    with an engine call `pivot.rollout.prepare_environment` before.

    Args:
        name: As vLLM registers it (`vllm serve --tool-call-parser`).
        tokenizer: The checkpoint's own; some parsers look their marks up in its vocabulary.

    Returns:
        A thread-safe function of completion text and tools that raises on no text. `Action.malformed` is one of
        `parse_completion`'s reasons, `too_long`, or `unreadable_tool_call`: begun, and not read by vLLM.

    Raises:
        UserError: vLLM has no such parser; it needs a package that is missing, or tokens that the checkpoint lacks; or
            it doesn't read how the checkpoint's chat template prints a call.
    """
    parser = _Parser(name, tokenizer)
    _check_reads(name, parser, tokenizer)
    return parser.parse


def _check_reads(name: str, parser: "_Parser", tokenizer: Any) -> None:
    """Refuse a parser that doesn't read what the checkpoint's own template prints for a call.

    With the wrong one every call passes for a message, and nothing else tells. A template that prints no calls leaves
    nothing to compare.
    """
    printed = PromptEncoder(tokenizer).answer_text([{"role": "user", "content": "Weather in Oslo?"}], [_TOOL], _CALL)
    if printed is not None and not _reads(parser, printed):
        others = [other for other in FORMS if other != name and _fits(other, tokenizer, printed)]
        hint = f"; {' or '.join(others)} does" if others else ""
        raise UserError(
            f"prompt.tool_parser={name} doesn't read how model.path's chat template prints a call{hint}: {printed!r}"
        )


def _reads(parser: "_Parser", printed: str) -> bool:
    calls = [(call.name, decode_object(call.arguments)) for call in parser.parse(printed, [_TOOL]).calls]
    return calls == [(call.name, decode_object(call.arguments)) for call in _CALL.calls]


def _fits(name: str, tokenizer: Any, printed: str) -> bool:
    try:
        return _reads(_Parser(name, tokenizer), printed)
    except UserError:
        return False


class _Parser:
    def __init__(self, name: str, tokenizer: Any) -> None:
        self._make = _parser_class(name)
        self._form = FORMS[name]
        self._tokenizer = tokenizer
        self._end = tokenizer.eos_token or ""
        # One parser a set of tools, for it reads their schemas; by identity, for the samples of a turn share them.
        self._parsers: OrderedDict[int, tuple[Sequence[Tool], Any, Any]] = OrderedDict()
        self._lock = threading.Lock()  # vLLM's parsers keep state while they read
        try:
            self._for(())
        except _PARSER_ERRORS as error:
            raise UserError(
                f"prompt.tool_parser={name} doesn't fit the tokenizer of model.path: {' '.join(str(error).split())}"
            ) from error

    def parse(self, text: str, tools: Sequence[Tool]) -> Action:
        """The action of a completion; never raises."""
        body = text.strip().removesuffix(self._end).strip()
        visible = strip_thinking(body, self._form.think)
        if visible is None:
            return Action(body, malformed="unclosed_think")
        visible = visible.strip()
        if len(visible) > self._form.longest:
            return Action(visible, malformed="too_long")
        try:
            return self._read(visible, tools)
        except Malformed as error:
            return Action(visible, malformed=error.reason)

    def _read(self, visible: str, tools: Sequence[Tool]) -> Action:
        form = self._form
        if not is_unicode(visible):
            raise Malformed("lone_surrogate")  # pydantic refuses it
        if form.looks is not None and not tools:
            return Action(visible)  # nothing marks a call, and there is nothing to call: no server would look for one
        if form.json:
            wanted: int | None = len(read_calls(visible, form.pairs[0]).calls)
        elif (reason := form.broken(visible)) is not None:
            raise Malformed(reason)
        else:
            wanted = form.expected(visible)
        content, calls = self._extract(visible, tools)
        if (not calls and form.meant(visible)) or (wanted is not None and len(calls) != wanted):
            raise Malformed("unreadable_tool_call")
        if calls and form.meant(content):
            raise Malformed("unreadable_tool_call")  # one of several was given up
        return Action(content.strip() or (None if calls else visible), calls)

    def _extract(self, visible: str, tools: Sequence[Tool]) -> tuple[str, tuple[ToolCall, ...]]:
        with self._lock:
            try:
                parser, request = self._for(tools)
                found = parser.extract_tool_calls(visible, request)
            except _PARSER_ERRORS:
                raise Malformed("unreadable_tool_call") from None
        calls = [(call.function.name, call.function.arguments) for call in found.tool_calls]
        return found.content or "", tuple(_checked(name, arguments) for name, arguments in calls)

    def _for(self, tools: Sequence[Tool]) -> tuple[Any, Any]:
        key = id(tools)
        if key not in self._parsers:
            if len(self._parsers) >= _TOOL_SETS:
                self._parsers.popitem(last=False)
            params, request = _request(tools)
            parser = _whole_texts(self._make(self._tokenizer, params))
            self._parsers[key] = (tools, parser, request)  # holding the tools keeps their id
        self._parsers.move_to_end(key)
        return self._parsers[key][1:]


def _checked(name: Any, arguments: Any) -> ToolCall:
    """A call that vLLM read, when it is one that an environment could run."""
    if not isinstance(name, str) or not name:
        raise Malformed("missing_name")
    try:
        decode_object(arguments)
    except BadJson as error:
        raise Malformed("arguments_not_object" if error.reason == "not_object" else error.reason) from None
    return ToolCall(name, arguments)


def _parser_class(name: str) -> Any:
    from vllm.tool_parsers import ToolParserManager

    # A sample that is no call is everyday business here; vLLM would print a traceback for each.
    for logger in ("vllm.tool_parsers", "vllm.parser"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    known = sorted(FORMS.keys() & set(ToolParserManager.list_registered()))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"prompt.tool_parser={name} is none of vLLM's parsers of text; {hint}there are {', '.join(known)}"
        )
    try:
        return ToolParserManager.get_tool_parser(name)
    except ImportError as error:
        raise UserError(
            f"prompt.tool_parser={name}: vLLM's parser needs the package {error.name}, which is not installed"
        ) from error


def _whole_texts(parser: Any) -> Any:
    """The parser, without the work that it does for streaming.

    vLLM's engine-based parsers rebuild all arguments at every `>` or quote to stream the difference, also when they are
    given a whole text: 13 s for 8,000 characters with `granite`, 22 ms without. What they find doesn't depend on it.
    """
    from vllm.parser.engine.adapters import ParserEngineToolAdapter

    if isinstance(parser, ParserEngineToolAdapter):
        parser._parser_engine._stream_arg_deltas = False
    return parser


def _request(tools: Sequence[Tool]) -> tuple[list[Any], Any]:
    """Tools and the request that a server would have made from them."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest, ChatCompletionToolsParam

    params = [ChatCompletionToolsParam.model_validate({"type": "function", "function": _plain(t)}) for t in tools]
    return params, ChatCompletionRequest(messages=[], tools=params or None)


def _plain(tool: Tool) -> dict[str, Any]:
    """What a request may say of a tool; data files hold descriptions and schemas of other types too."""
    function = tool["function"]
    kinds = {"description": str, "parameters": dict}
    return {"name": function["name"]} | {
        key: function[key] for key, kind in kinds.items() if isinstance(function.get(key), kind)
    }
