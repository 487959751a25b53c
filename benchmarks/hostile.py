"""Hostile and broken actions without end: what a policy under training, or somebody who games it, may write.

Seeded, so that a failure can be found again. Tests and `benchmarks.verify` draw from the same generator.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.prompt import parse_completion, render_action
from pivot.trajectory import Action, Tool, ToolCall
from pivot.verify import Context

MEGABYTE = 1_000_000
TOOL: Tool = {
    "type": "function",
    "function": {
        "name": "book",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "day": {"type": "string", "format": "date"},
                "seats": {"type": "integer", "default": 1},
                "price": {"type": "number"},
                "cabin": {"type": "string", "enum": ["economy", "business"]},
                "code": {"type": ["string", "integer"]},
                "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "meta": {"type": "object"},
                "reason": {"type": "string"},
                "loop": {"$ref": "#/properties/loop"},
            },
            "required": ["city"],
        },
    },
}
_GOOD: dict[str, Any] = {
    "city": "Oslo",
    "day": "2024-05-20",
    "seats": 2,
    "price": 10.5,
    "cabin": "economy",
    "code": "7",
    "tags": ["a", "b"],
    "meta": {"x": [1, {"y": None}]},
    "reason": "The customer wants to travel on another day.",
}
_TERMINAL = json.dumps(
    {
        "analysis": "The tests fail in one place.",
        "plan": "Look at it.",
        "commands": [{"keystrokes": "grep -rn 'def total' src | head -5\n", "duration": 1.0}],
        "task_complete": False,
    }
)
_SHELL = "I will look at the file.\n```bash\nsed -i 's/a/b/' src/app.py && git diff | cat\n```"
MESSAGES = (
    "Could you please share your user ID and the reservation number?",
    "Your flight HAT136 on May 20, 2024 costs $1,205.50. Shall I book it (yes/no)?",
    "I'm sorry, but basic economy tickets cannot be changed. Is there anything else I can help you with?",
    "I have cancelled order #W2378156. A refund of $45.99 goes to your gift card within 5-7 business days.",
)
_URL = '{"url": "https://example.org/a?b=1&c=2#frag", "query": "population of Oslo 2020"}'


@dataclass(frozen=True, slots=True)
class Pair:
    """An action to score, the expert's, and where."""

    actual: Action
    expected: Action
    context: Context


def call(arguments: str, name: str = "book") -> Action:
    """An action that is one call."""
    return Action(None, (ToolCall(name, arguments),))


def experts() -> list[Action]:
    """Expert actions of every domain."""
    parallel = (ToolCall("book", '{"city": "Oslo"}'), ToolCall("book", '{"city": "Rome"}'), ToolCall("find", "{}"))
    edit = {"command": "str_replace", "path": "/app/src/a.py", "old_str": "x = 1\n", "new_str": "x = 2\n"}
    return [
        call(json.dumps(_GOOD)),
        Action(None, parallel),
        call(json.dumps(edit), "str_replace_editor"),
        call('{"command": "cat a.txt | grep -n x"}', "execute_bash"),
        call('{"query": "population of Oslo 2020"}', "search"),
        call(_URL, "open_page"),
        Action(_TERMINAL),
        Action(_SHELL),
        *(Action(text) for text in MESSAGES),
    ]


# Units whose repetition has been known to hurt parsers, regular expressions, matchers and Unicode tables.
BAIT = (
    "a", " ", "\n", "\t ", "0", "9", "1,", "1.", "-", "--", "a-", "-a", "a@", "@a", "a.", "..", "a/", "//",
    "\\", "\\\\", '"', "'", "`", "$", "$(", "((", "))", "[[", "{", "}", '{"a":', "[", "]", "*", "**", "_", "#",
    "|", "||", "&&", ";", "<", ">", "<<", ">>", "!", "?", "%", "%20", "&a=", "http://", "www.", "jan ",
    "may 1 ", "12:30 ", "2024-05-20 ", "JFK ", "please ", "would you ", "is this ", "if a ", "or if you ",
    "can not ", "transfer ", "has been ", "to my ", "</think>", "<think>", "<tool_call>", "</tool_call>", "```",
    "```\n", "ls -la | ", "cat <<EOF\n", "if true; then ", "for i in a; do ", "a=1 ", "\u00e9", "e\u0301",
    "\u202e", "\ud800", "\udfff", "\U0001f600", "\u200b", "\ufdfa", "\u0000", "\x1b[31m", "\u0130", "\u00df",
    "\uff21", "\u2028",
)  # fmt: skip
_NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "1e-999",
    "9" * 5000,
    "-0",
    "0.1e1",
    "1" + "0" * 400,
    "1.7976931348623157e308",
)


def _long(rng: random.Random, size: int) -> str:
    unit = rng.choice(BAIT)
    return (unit * (size // len(unit) + 1))[:size]


def _size(rng: random.Random) -> int:
    """Mostly short; some as long as a context, a few a megabyte."""
    return rng.choices((20, 300, 5_000, 60_000, MEGABYTE), weights=(40, 30, 20, 8, 2))[0]


def _nested(rng: random.Random) -> str:
    depth = rng.choice((10, 63, 64, 65, 500, 10_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")))
    return opening * depth + rng.choice(("1", "", '"x"')) + (closing * depth if rng.random() < 0.8 else "")


def _value(rng: random.Random) -> str:
    """JSON text of a value, or what only looks like it."""
    size = _size(rng)
    kind = rng.randrange(9)
    if kind == 0:
        return json.dumps(_long(rng, size))
    if kind == 1:
        return f'"{_long(rng, size)}"'
    if kind == 2:
        return rng.choice(_NUMBERS)
    if kind == 3:
        return _nested(rng)
    if kind == 4:
        return (
            "["
            + ",".join(["1", '"a"', '{"a": 1}', "null"][rng.randrange(4)] for _ in range(min(size, 20_000) // 4))
            + "]"
        )
    if kind == 5:
        return "{" + ",".join(f'"k{n}": {n}' for n in range(min(size, 60_000) // 10)) + "}"
    if kind == 6:
        return rng.choice(("null", "true", "false", '""', "{}", "[]", '"\\ud800"', '"\\u0000"', "undefined", "'x'"))
    if kind == 7:
        return str(rng.randrange(-(10**18), 10**18))
    return json.dumps(rng.choice(MESSAGES)[: rng.randrange(200)])


def _broken(rng: random.Random, text: str) -> str:
    """A text with a part cut out, doubled, replaced or filled with bait."""
    at = rng.randrange(len(text) + 1)
    to = min(len(text), at + rng.randrange(40))
    middle = rng.choice(("", text[at:to] * 2, rng.choice(BAIT), _long(rng, _size(rng)), chr(rng.randrange(0x110000))))
    return text[:at] + middle + text[to:]


def _arguments(rng: random.Random) -> str:
    shuffled = list(_GOOD.items())
    rng.shuffle(shuffled)
    parts = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in shuffled[: rng.randrange(len(shuffled) + 1)]]
    for _ in range(rng.randrange(3)):
        parts.append(f"{json.dumps(rng.choice([*_GOOD, 'x', '', 'loop']))}: {_value(rng)}")
    text = "{" + ", ".join(parts) + "}"
    return _broken(rng, text) if rng.random() < 0.3 else text


def _tools(rng: random.Random) -> tuple[Any, ...]:
    """The usual tool, or schemas that a hostile file may hold."""
    if rng.random() < 0.9:
        return (TOOL,)
    node: Any = rng.choice(
        (None, 5, [], "x", {"$ref": "#"}, {"anyOf": [{"$ref": "#"}] * 5}, {"enum": 5}, {"default": {"a": []}})
    )
    parameters = {
        "properties": dict.fromkeys(_GOOD, node),
        "required": node,
        "$ref": "#/properties/city",
        "items": node,
    }
    return ({"type": "function", "function": {"name": "book", "parameters": rng.choice((node, parameters))}},)


def _actual(rng: random.Random, expected: Action) -> Action:
    kind = rng.randrange(7)
    if kind == 0:
        return expected
    if kind == 1:
        return call(
            _arguments(rng),
            rng.choice(("book", "book", "search", "execute_bash", "str_replace_editor", _long(rng, 50))),
        )
    if kind == 2:
        return parse_completion(_broken(rng, render_action(expected)))
    if kind == 3:
        return Action(_broken(rng, expected.content or rng.choice(MESSAGES)))
    if kind == 4:
        return Action(_long(rng, _size(rng)))
    if kind == 5:
        one = ToolCall("book", _arguments(rng)[:2_000])
        return Action(None, (one,) * rng.choice((2, 3, 50, 1_000)))
    if expected.calls:
        return call(_broken(rng, expected.calls[0].arguments), expected.calls[0].name)
    return parse_completion(_long(rng, _size(rng)) + rng.choice(("", "<tool_call>", "</tool_call>")))


def pairs(count: int, seed: int = 0, of: Sequence[Action] | None = None) -> Iterator[Pair]:
    """`count` hostile pairs.

    Args:
        count: How many.
        seed: Of every choice.
        of: Expert actions to start from; those of all domains by default.
    """
    rng = random.Random(f"hostile:{seed}")
    known = list(of or experts())
    for _ in range(count):
        expected = rng.choice(known)
        yield Pair(_actual(rng, expected), expected, Context(_tools(rng)))
