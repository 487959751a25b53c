"""What a chat template leaves out is found, and what it only prints in another way isn't reported."""

from typing import Any

import pytest

from pivot.prompt import PromptEncoder
from pivot.prompt.probe import TemplateProbe, shape
from pivot.trajectory.messages import read_tools
from tests.unit.prompt.templates import FORGETFUL, HERMES, PLAIN, THINKING, assistant, byte_tokenizer, result, user
from tests.unit.trajectory.examples import WEATHER_TOOL

TOOLS = read_tools([WEATHER_TOOL])
SYSTEM = {"role": "system", "content": "s"}
HISTORY = [
    SYSTEM,
    user("q"),
    assistant("so:", calls=("c1", "c2")),
    result("c1"),
    result("c2"),
    assistant("a"),
    user("q"),
]


def notes(template: str, history: list[dict[str, Any]], tools: Any = ()) -> tuple[str, ...]:
    return PromptEncoder(byte_tokenizer(template)).encode(history, tools, 10**6).notes


def test_a_template_that_prints_everything_leaves_nothing_to_note() -> None:
    assert notes(HERMES, HISTORY, TOOLS) == ()
    # trimmed, escaped or numbered is printed all the same
    transformed = HERMES.replace("(message.content or '') }}", "(message.content | trim | tojson) }}")
    assert notes(transformed, [*HISTORY, user('  "x"\n')], TOOLS) == ()


def test_a_template_without_tools_drops_tools_calls_and_their_words() -> None:
    assert notes(PLAIN, HISTORY, TOOLS) == (
        "template_drops_tool_calls", "template_drops_tool_descriptions", "template_drops_tools",
    )  # fmt: skip
    assert notes(PLAIN, HISTORY) == ("template_drops_tool_calls",)
    assert notes(PLAIN, [user("q")], TOOLS) == ("template_drops_tool_descriptions", "template_drops_tools")
    assert notes(PLAIN, [user("q")]) == ()


def test_tools_that_are_named_and_not_described_are_told_apart() -> None:
    named = "{% for tool in tools or [] %}{{ tool.function.name }}{% endfor %}" + PLAIN
    assert notes(named, [user("q")], TOOLS) == ("template_drops_tool_descriptions",)


def test_a_template_that_drops_messages_and_text_beside_calls() -> None:
    assert notes(FORGETFUL, HISTORY) == (
        "template_drops_system", "template_drops_text", "template_drops_tool_results",
    )  # fmt: skip
    assert notes(FORGETFUL, [user("q"), assistant("a"), user("q")]) == ()


def test_calls_after_the_first_are_missed() -> None:
    first_only = HERMES.replace("message.tool_calls or []", "(message.tool_calls or [])[:1]")
    assert notes(first_only, HISTORY) == ("template_drops_tool_calls",)
    assert notes(first_only, [user("q"), assistant(calls=("c",)), result("c")]) == ()


def test_a_short_word_that_stands_elsewhere_too_is_still_missed() -> None:
    without_results = HERMES.replace(
        "(message.content or '') }}", "('' if message.role == 'tool' else message.content or '') }}"
    )
    history = [user("yes"), assistant(calls=("c",)), result("c", "yes"), user("yes")]
    assert notes(without_results, history) == ("template_drops_tool_results",)


@pytest.mark.parametrize(
    ("template", "noted"),
    [
        (HERMES, ()),
        (HERMES.replace("(message.content or '') }}", "message.content }}"), ("empty_text_for_null",)),  # an error
        (
            HERMES.replace("(message.content or '') }}", "(message.content | string) }}"),
            ("empty_text_for_null",),
        ),  # "None"
    ],
)
def test_null_content_that_the_template_would_treat_otherwise_is_noted(template: str, noted: tuple[str, ...]) -> None:
    assert notes(template, [user("q"), assistant(calls=("c",)), result("c")]) == noted
    assert notes(template, [user("q"), assistant("text", calls=("c",)), result("c")]) == ()
    assert notes(template, [user("q"), assistant("text"), user("q")]) == ()


def test_a_template_that_reads_words_is_said_to_be_unchecked() -> None:
    picky = "{% if messages[0].content != 'magic' %}{{ raise_exception('say it') }}{% endif %}" + PLAIN
    assert notes(picky, [user("magic")]) == ("template_not_checked",)


def test_a_shape_is_asked_about_once() -> None:
    rendered: list[int] = []

    def render(messages: Any, tools: Any) -> str:
        rendered.append(len(messages))
        return " ".join(str(message) for message in messages)

    probe = TemplateProbe(render)
    for text in ("one", "two", "three"):
        assert probe.dropped([user(text), assistant(text, calls=("c",)), result("c", text)], tools=False) == ()
    assert rendered == [3]
    probe.dropped([user("one"), assistant("", calls=("c",)), result("c")], tools=False)
    assert rendered == [3, 3]


def test_shapes_tell_apart_what_templates_branch_on() -> None:
    messages = [
        user("x"), user(" "), assistant("x"), assistant("x", thought="t"), assistant("<think>t</think>x"),
        assistant("t</think>x"), assistant(calls=("c",)), assistant(calls=("c", "d")), assistant("x", calls=("c",)),
    ]  # fmt: skip
    assert len({shape(message) for message in messages}) == len(messages)
    assert shape(user("x")) == shape(user("<think>y</think>"))  # a user's words aren't thoughts


def test_an_older_thought_that_is_dropped_is_noted_once() -> None:
    history = [user("q"), assistant("a", thought="t"), user("q"), assistant("b", thought="u"), user("q")]
    assert notes(THINKING, history) == ("template_drops_thinking",)
