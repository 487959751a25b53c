"""Which thoughts of a history a prompt keeps, and where they stand in it."""

from typing import Any

import pytest

from pivot.prompt import PromptEncoder
from tests.unit.prompt.templates import HERMES, PLAIN, THINKING, assistant, byte_tokenizer, result, user

HISTORY = [
    user("q1"),
    assistant("a1", thought="t1"),
    user("q2"),
    assistant(thought="t2", calls=("c2",)),
    result("c2"),
    assistant("a3"),
    user("q4"),
]
IN_TEXT = [user("q1"), assistant("<think>\nt1\n</think>\n\na1"), user("q2"), assistant("t2</think>a2"), user("q3")]


def prompt(template: str, history: list[dict[str, Any]], thinking: Any) -> tuple[str, tuple[str, ...]]:
    prompts = PromptEncoder(byte_tokenizer(template), thinking=thinking)
    return prompts.text(history, ()), prompts.encode(history, (), 10**6).notes


PLAIN_THINKING = """\
{%- for m in messages %}{{- m.role + ':' + (m[KEY] or '') + '/' + (m.content or '') + ';' }}
{%- for call in m.tool_calls or [] %}{{- call.function.name + (call.function.arguments | tojson) }}{% endfor %}
{%- endfor %}"""


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_is_given_under_the_key_that_the_template_reads(key: str) -> None:
    text, notes = prompt(PLAIN_THINKING.replace("KEY", repr(key)), HISTORY, "keep")
    assert text == ('user:/q1;assistant:t1/a1;user:/q2;assistant:t2/;f{"id": "c2"}tool:/done;assistant:/a3;user:/q4;')
    assert notes == ()


def test_a_thought_is_put_into_the_text_where_the_template_reads_no_key() -> None:
    text, notes = prompt(PLAIN, HISTORY[:3], "keep")
    assert text == (
        "[user] q1<|im_end|>\n[assistant] <think>\nt1\n</think>\n\na1<|im_end|>\n[user] q2<|im_end|>\n[assistant] "
    )
    assert notes == ("thinking_embedded",)
    text, notes = prompt(HERMES, HISTORY, "keep")
    assert "<think>\nt2\n</think>\n<tool_call>" in text
    assert notes == ("thinking_embedded",)


def test_strip_takes_out_every_thought() -> None:
    text, notes = prompt(HERMES, HISTORY, "strip")
    assert "t1" not in text
    assert "t2" not in text
    assert "a1" in text
    assert notes == ("thinking_stripped",)
    text, notes = prompt(HERMES, IN_TEXT, "strip")
    assert text == (
        "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\na1<|im_end|>\n<|im_start|>user\nq2<|im_end|>\n"
        "<|im_start|>assistant\na2<|im_end|>\n<|im_start|>user\nq3<|im_end|>\n<|im_start|>assistant\n"
    )
    assert notes == ("thinking_stripped",)


def test_last_keeps_the_thought_of_the_newest_assistant_message_only() -> None:
    text, notes = prompt(HERMES, HISTORY[:5], "last")
    assert "t1" not in text
    assert "<think>\nt2\n</think>" in text
    assert notes == ("thinking_stripped", "thinking_embedded")
    text, notes = prompt(HERMES, HISTORY, "last")  # the newest one has none: the older ones go all the same
    assert "<think>" not in text
    assert notes == ("thinking_stripped",)
    text, notes = prompt(HERMES, IN_TEXT, "last")
    assert "t1" not in text
    assert "t2</think>a2" in text
    assert notes == ("thinking_stripped",)


def test_nothing_is_noted_where_there_is_no_thought() -> None:
    for thinking in ("keep", "strip", "last"):
        assert prompt(HERMES, [user("q"), assistant("a"), user("q2")], thinking)[1] == ()


@pytest.mark.parametrize("history", [HISTORY, IN_TEXT], ids=["under a key", "in the text"])
def test_what_a_template_leaves_out_of_the_thoughts_it_is_given_is_noted(history: list[dict[str, Any]]) -> None:
    text, notes = prompt(THINKING, history, "keep")
    assert "t1" not in text
    assert notes == ("template_drops_thinking",)
    assert prompt(THINKING, HISTORY[:5], "last") == (
        "[user] q1<|im_end|>\n[assistant] a1<|im_end|>\n[user] q2<|im_end|>\n[assistant] <think>t2</think>"
        '[{"id": "c2", "type": "function", "function": {"name": "f", "arguments": {"id": "c2"}}}]<|im_end|>\n'
        "[tool] done<|im_end|>\n[assistant] ",
        ("thinking_stripped",),
    )
    assert prompt(THINKING, [user("q"), assistant(thought="t", calls=("c",)), result("c")], "keep")[1] == ()
