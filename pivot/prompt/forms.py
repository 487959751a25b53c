"""How each of vLLM's tool parsers has calls marked in text: what tells an incomplete call from a message.

vLLM's parsers are made for serving: a call that is broken becomes a message, and one that is cut off is completed. A
reward must not confuse the three, so the marks that a parser looks for are written here (vLLM gives no access to them
that all parsers share) and counted in what it was given and in what it gave back.
"""

# ruff: noqa: RUF001  (some families write their marks with a full-width bar)

import re
from dataclasses import dataclass

from pivot.prompt.completion import MOST_CALLS
from pivot.prompt.thinking import THINK
from pivot.trajectory.strict_json import BadJson, decode_prefix

_JSON_CALL = re.compile(r"""\s*[\[{]\s*\{?\s*["']name["']""")
_PYTHON_CALL = re.compile(r"\s*\[\s*[A-Za-z_]\w*\s*\(")


@dataclass(frozen=True, slots=True)
class Form:
    """The marks of one family.

    Attributes:
        pairs: Opening and closing marks; an opening must be closed before the same one opens again.
        opens: Marks that begin calls and are never closed.
        each: The mark that every single call has exactly once; None where one mark may hold a list of calls.
        looks: How text without any mark begins when it is meant as a call.
        payload: What ends where the JSON of calls must begin, for parsers that complete it when it is cut off.
        json: Whether what stands between the one pair is the JSON of one call, as in the Hermes form.
        think: What opens and closes a thought.
        longest: Most characters besides thoughts that are read. Some of vLLM's parsers take quadratic time on hostile
            text: 6 s for 64 KiB at worst (`mistral`); those for the Hermes form are linear.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    opens: tuple[str, ...] = ()
    each: str | None = None
    looks: re.Pattern[str] | None = None
    payload: re.Pattern[str] | None = None
    json: bool = False
    think: tuple[str, str] = THINK
    longest: int = 1 << 16

    def broken(self, text: str) -> str | None:
        """Why the marks in `text` can't be whole calls, or None.

        The reason is one of `too_many_calls`, `unclosed_tool_call`, `unopened_tool_call` and those of `BadJson`.
        """
        if any(text.count(mark) > MOST_CALLS for mark in (*self.opens, *(opening for opening, _ in self.pairs))):
            return "too_many_calls"
        for opening, closing in self.pairs:
            inside = False
            for mark in re.finditer(f"{re.escape(opening)}|{re.escape(closing)}", text):
                opens = mark.group() == opening
                if opens and inside:
                    return "unclosed_tool_call"
                if not opens and not inside:
                    return "unopened_tool_call"
                inside = opens
            if inside:
                return "unclosed_tool_call"
        return self._broken_payload(text)

    def _broken_payload(self, text: str) -> str | None:
        for start in self.payload.finditer(text) if self.payload else ():
            try:
                decode_prefix(text, start.end())
            except BadJson as error:
                return error.reason
        return None

    def meant(self, text: str) -> bool:
        """Whether `text` was meant as calls: it has a mark, or begins as a call does."""
        marks = (*self.opens, *(opening for opening, _ in self.pairs))
        return any(mark in text for mark in marks) or (self.looks is not None and self.looks.match(text) is not None)

    def expected(self, text: str) -> int | None:
        """How many calls `text` has, where the form says; None where it doesn't."""
        return None if self.each is None else text.count(self.each)


def _pair(opening: str, closing: str, think: tuple[str, str] = THINK) -> Form:
    return Form(pairs=((opening, closing),), each=opening, think=think)


def _nested(outer: tuple[str, str], inner: tuple[str, str]) -> Form:
    return Form(pairs=(outer, inner), each=inner[0])


def _functions(opening: str, closing: str, think: tuple[str, str] = THINK) -> Form:
    """Calls as `<function=name><parameter=key>value</parameter></function>` between two marks."""
    return Form(pairs=((opening, closing), ("<function=", "</function>")), each="<function=", think=think)


def _list(opening: str, closing: str, think: tuple[str, str] = THINK) -> Form:
    return Form(pairs=((opening, closing),), think=think)


def _hermes(opening: str, closing: str) -> Form:
    return Form(pairs=((opening, closing),), json=True, longest=1 << 20)


def _dsml(space: str, calls: str) -> Form:
    return _nested((f"<｜DSML｜{space}{calls}>", f"</｜DSML｜{space}{calls}>"),
                   (f"<｜DSML｜{space}invoke name=", f"</｜DSML｜{space}invoke>"))  # fmt: skip


_TAG = ("<tool_call>", "</tool_call>")
_DEEPSEEK = _nested(
    ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"), ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")
)
_HUNYUAN = Form(pairs=(("<tool_calls", "</tool_calls"),))  # a checkpoint's marks may carry a suffix before the `>`
_M3 = "]<]minimax[>["

FORMS: dict[str, Form] = {
    "apertus": _list("<|tools_prefix|>", "<|tools_suffix|>"),
    "deepseek_v3": _DEEPSEEK,
    "deepseek_v31": _DEEPSEEK,
    "deepseek_v32": _dsml("", "function_calls"),
    "deepseek_v4": _dsml("", "tool_calls"),
    "deepseek_v41": _dsml(" ", "calls"),
    "dots": _list("<dots_function_call>", "</dots_function_call>"),
    "ernie45": _pair(*_TAG),
    "functiongemma": _pair("<start_function_call>", "<end_function_call>"),
    "gemma4": _pair("<|tool_call>", "<tool_call|>", ("<|channel>", "<channel|>")),
    "gigachat3": Form(opens=("function call<|role_sep|>", "<|function_call|>")),
    "glm45": _pair(*_TAG),
    "glm47": _pair(*_TAG),
    "granite": Form(opens=("<|tool_call|>", "<tool_call>"), payload=re.compile(r"<(\|?)tool_call\1>\s*")),
    "granite-20b-fc": Form(opens=("<function_call>",), each="<function_call>"),
    "granite4": _pair(*_TAG),
    "hermes": _hermes(*_TAG),
    "hunyuan_a13b": _list("<tool_calls>", "</tool_calls>"),
    "hy_v3": _HUNYUAN,
    "hy_v4": _HUNYUAN,
    "inkling": Form(
        opens=("<|content_invoke_tool_json|>",),
        each="<|content_invoke_tool_json|>",
        payload=re.compile(r"<\|content_invoke_tool_json\|>\s*"),
    ),
    "internlm": _pair("<|action_start|><|plugin|>", "<|action_end|>"),
    "jamba": _list("<tool_calls>", "</tool_calls>"),
    "k2_horizon": _nested(("<ifm|tool_calls>", "</ifm|tool_calls>"), ("<ifm|tool_call>", "</ifm|tool_call>")),
    "kimi_k2": _nested(
        ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"), ("<|tool_call_begin|>", "<|tool_call_end|>")
    ),
    "kimi_k3": _nested(
        ("<|open|>tools<|sep|>", "<|close|>tools<|sep|>"), ("<|open|>call ", "<|close|>call<|sep|>")
    ),
    "lfm2": _list("<|tool_call_start|>", "<|tool_call_end|>"),
    "ling3": _pair(*_TAG),
    "llama3_json": Form(opens=("<|python_tag|>",), looks=_JSON_CALL),
    "llama4_json": Form(opens=("<|python_tag|>",), looks=_JSON_CALL),
    "llama4_pythonic": Form(opens=("<|python_start|>",), looks=_PYTHON_CALL),
    "longcat": _hermes("<longcat_tool_call>", "</longcat_tool_call>"),
    "mimo": _functions(*_TAG),
    "minicpm5": Form(pairs=(("<function ", "</function>"),), each="<function "),
    "minimax_m2": _nested(("<minimax:tool_call>", "</minimax:tool_call>"), ("<invoke name=", "</invoke>")),
    "minimax_m3": _nested((f"{_M3}<tool_call>", f"{_M3}</tool_call>"), (f"{_M3}<invoke name=", f"{_M3}</invoke>")),
    "mistral": Form(
        opens=("[TOOL_CALLS]",),
        payload=re.compile(r"\[TOOL_CALLS\][^\[{]*(?:\[ARGS\])?\s*"),
        think=("[THINK]", "[/THINK]"),
    ),
    "muse_glimmer": _nested(
        ("<atem:function_calls>", "</atem:function_calls>"), ("<atem:invoke ", "</atem:invoke>")
    ),
    "olmo3": Form(pairs=(("<function_calls>", "</function_calls>"),)),
    "phi4_mini_json": Form(opens=("functools[",)),
    "plamo3": _nested(
        ("<|plamo:begin_tool_requests:plamo|>", "<|plamo:end_tool_requests:plamo|>"),
        ("<|plamo:begin_tool_request:plamo|>", "<|plamo:end_tool_request:plamo|>"),
    ),
    "poolside_v1": _pair(*_TAG),
    "pythonic": Form(looks=_PYTHON_CALL),
    "qwen3_coder": _functions(*_TAG),
    "qwen3_json": _hermes(*_TAG),
    "qwen3_xml": _functions(*_TAG),
    "seed_oss": _functions("<seed:tool_call>", "</seed:tool_call>", ("<seed:think>", "</seed:think>")),
    "step3": _nested(
        ("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>"), ("<｜tool_call_begin｜>", "<｜tool_call_end｜>")
    ),
    "step3p5": _functions(*_TAG),
    "xlam": Form(pairs=(_TAG,), opens=("[TOOL_CALLS]",), looks=_JSON_CALL),
}  # fmt: skip
"""By the parser's name in vLLM. Missing: `openai`, `hf` and `cohere_command*`, stubs that read no text alone."""
