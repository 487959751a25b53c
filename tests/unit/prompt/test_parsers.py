"""vLLM's tool parsers, by name: what they read, and what is reported as broken where they would not say."""

import json
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
from transformers import AutoTokenizer

from pivot.errors import UserError
from pivot.prompt import ParseAction, action_parser, parse_completion
from pivot.prompt.forms import FORMS
from pivot.rollout import prepare_environment
from pivot.trajectory import Action, ToolCall
from pivot.trajectory.messages import read_tools
from tests.unit.prompt.calls import CALLS
from tests.unit.prompt.templates import HERMES, PLAIN, TINY_MOE, byte_tokenizer

prepare_environment()  # before anything imports vllm

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
TOOLS = read_tools([{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}])
WEATHER = [("get_weather", {"city": "Oslo", "days": 2})]
_MORE_TOKENS = {
    "[ARGS]", "<tool_sep>", "<tool_call>", "</tool_call>", "<tool_calls>", "</tool_calls>", "<arg_key>", "</arg_key>",
    "<arg_value>", "</arg_value>",
}  # fmt: skip


@pytest.fixture(scope="module")
def hermes() -> ParseAction:
    return action_parser("hermes", AutoTokenizer.from_pretrained(TINY_MOE))


@cache
def knowing_tokenizer() -> Any:
    """A tokenizer that has the marks of every family, and a template that prints no calls."""
    marks = {mark for form in FORMS.values() for mark in (*form.opens, *(m for pair in form.pairs for m in pair))}
    return byte_tokenizer(PLAIN, tuple(sorted(marks | _MORE_TOKENS)))


def family(name: str) -> ParseAction:
    try:
        return action_parser(name, knowing_tokenizer())
    except UserError as error:
        if "which is not installed" not in str(error):
            raise
        pytest.skip(str(error))


def read(action: Action) -> list[tuple[str, Any]]:
    return [(call.name, json.loads(call.arguments)) for call in action.calls]


def test_every_parser_of_text_that_vllm_registers_has_a_form_and_an_example() -> None:
    from vllm.tool_parsers import ToolParserManager

    stubs = {"openai", "hf", "cohere_command3", "cohere_command4"}
    assert set(ToolParserManager.list_registered()) == set(FORMS) | stubs
    assert set(CALLS) == set(FORMS)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_call_is_read_as_each_family_writes_it(name: str) -> None:
    parse = family(name)
    assert read(parse(CALLS[name], TOOLS)) == WEATHER
    assert read(parse(f"{CALLS[name]}\n<|im_end|>\n", TOOLS)) == WEATHER
    opened, closed = FORMS[name].think
    assert read(parse(f"{opened}\nperhaps {CALLS[name]}?\n{closed}\n\n{CALLS[name]}", TOOLS)) == WEATHER
    assert parse("Hello there.", TOOLS) == Action("Hello there.")
    assert parse("", TOOLS) == Action("")


# What may follow a call, and in what a cut hurts nothing: the call is whole.
_TAILS = {"muse_glimmer": "<|eom|>", "inkling": "<|end_message|>", "llama4_pythonic": "<|python_end|>", "hy_v3": ">"}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_call_that_is_cut_off_anywhere_is_malformed(name: str) -> None:
    parse, form = family(name), FORMS[name]
    whole = CALLS[name].removesuffix(_TAILS.get(name, ""))
    marks = [*form.opens, *(opening for opening, _ in form.pairs)]
    begun = min([whole.find(mark) + len(mark) + 1 for mark in marks if mark in whole] or [len('[{"name"') + 5])
    for end in range(begun, len(whole)):
        action = parse(whole[:end], TOOLS)
        assert action.malformed is not None, whole[:end]
        assert action.calls == ()


@pytest.mark.parametrize("name", ["hermes", "qwen3_xml", "deepseek_v31", "granite", "minimax_m2"])
def test_one_broken_call_of_two_breaks_the_action(name: str) -> None:
    parse = family(name)
    assert read(parse(CALLS[name] * 2, TOOLS)) == WEATHER * 2
    for end in (len(CALLS[name]) - 1, len(CALLS[name]) // 2):
        assert parse(CALLS[name] + CALLS[name][:end], TOOLS).malformed is not None
        assert parse(CALLS[name][:end] + CALLS[name], TOOLS).malformed is not None


def test_what_a_parser_makes_of_a_schema_is_kept() -> None:
    text = CALLS["qwen3_xml"].replace("Oslo", "12")
    parse = family("qwen3_xml")
    assert read(parse(text, TOOLS)) == [("get_weather", {"city": "12", "days": 2})]
    untyped = read_tools([{"type": "function", "function": {"name": "get_weather"}}])
    assert read(parse(CALLS["qwen3_xml"], untyped)) == [("get_weather", {"city": "Oslo", "days": "2"})]
    assert read(parse(CALLS["qwen3_xml"], TOOLS)) == WEATHER


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>', "not_finite"),
        ("hermes", '<tool_call>{"name": "", "arguments": {}}</tool_call>', "missing_name"),
        ("hermes", "<think>never ends", "unclosed_think"),
        ("granite4", '<tool_call>{"name": "f", "arguments": "no"}</tool_call>', "not_json"),
        ("granite4", '<tool_call>{"name": "f", "arguments": "[1]"}</tool_call>', "arguments_not_object"),
        ("granite4", '<tool_call>{"name": "", "arguments": {}}</tool_call>', "missing_name"),
        ("granite4", "<tool_call>a<tool_call>b</tool_call>", "unclosed_tool_call"),
        ("granite4", "a</tool_call>", "unopened_tool_call"),
        ("granite4", "<tool_call>{}</tool_call>" * 257, "too_many_calls"),
        ("granite4", "x" * 65_537, "too_long"),
        ("hermes", "x" * (1 << 20) + "x", "too_long"),
        ("granite4", "\ud800", "lone_surrogate"),
        ("pythonic", "[get_weather(city=", "unreadable_tool_call"),
        ("pythonic", "[get_weather(city=open('x'))]", "unreadable_tool_call"),
        ("llama3_json", '{"name": "get_weather"}', "unreadable_tool_call"),
        ("seed_oss", "<seed:think>never ends", "unclosed_think"),
    ],
)
def test_why_a_completion_is_malformed(name: str, text: str, reason: str) -> None:
    action = family(name)(text, TOOLS)
    assert (action.malformed, action.calls) == (reason, ())


def test_a_message_that_only_looks_a_little_like_a_call_is_a_message() -> None:
    for text in ('{"city": "Oslo"}', "[1, 2]", "[link](url)", "a < b", "functools is a module"):
        for name in ("llama3_json", "pythonic", "xlam", "hermes", "phi4_mini_json"):
            assert family(name)(text, TOOLS) == Action(text), name


def test_where_nothing_marks_a_call_there_is_none_without_tools() -> None:
    for name in ("llama3_json", "pythonic", "xlam"):
        assert family(name)(CALLS[name], ()) == Action(CALLS[name])
    assert read(family("deepseek_v31")(CALLS["deepseek_v31"], ())) == WEATHER


def test_samples_that_are_no_calls_print_nothing(hermes: ParseAction, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        family("granite4")("<tool_call>oops</tool_call>", TOOLS)
        family("llama3_json")('{"name": 1}', TOOLS)
        hermes("<tool_call>oops</tool_call>", TOOLS)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_tools_of_any_shape_do_no_harm(hermes: ParseAction) -> None:
    odd = [{"type": "function", "function": {"name": "get_weather", "description": 3, "parameters": ["x"]}}]
    assert read(hermes(CALLS["hermes"], odd)) == WEATHER
    assert read(hermes(CALLS["hermes"], ())) == WEATHER


ENGINES = ["deepseek_v32", "gemma4", "glm45", "granite", "inkling", "kimi_k2", "ling3", "mimo", "minimax_m2"]
ENGINES += ["minimax_m3", "mistral", "plamo3", "qwen3_xml", "seed_oss", "step3p5"]


@pytest.mark.parametrize("name", ENGINES)
def test_a_parser_finds_the_same_without_its_work_for_streaming(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, rng = family(name), random.Random(name)
    monkeypatch.setattr("pivot.prompt.parsers._whole_texts", lambda parser: parser)
    streaming = family(name)
    texts = [CALLS[name], CALLS[name] * 2, "Hi", *(_damaged(CALLS[name], rng) for _ in range(60))]
    assert [parse(text, TOOLS) for text in texts] == [streaming(text, TOOLS) for text in texts]


def test_threads_and_tool_sets_do_not_mix() -> None:
    parse = family("glm45")
    sets = [
        read_tools([{"type": "function", "function": {"name": f"tool_{i}", "parameters": SCHEMA}}]) for i in range(40)
    ]
    texts = [CALLS["glm45"].replace("get_weather", f"tool_{i}") for i in range(40)]
    work = [(texts[i % 40], sets[i % 40]) for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        actions = list(pool.map(lambda pair: parse(*pair), work))
    assert [read(action)[0][0] for action in actions] == [f"tool_{i % 40}" for i in range(400)]
    assert parse(texts[0], sets[1]).malformed == "unreadable_tool_call"  # this family refuses tools it wasn't given


# --- errors that a user makes


def test_an_unknown_parser_is_named_with_the_nearest_and_all_others() -> None:
    with pytest.raises(
        UserError, match=r"tool_parser=hermez is none .* did you mean hermes\? there are apertus, .*xlam"
    ):
        action_parser("hermez", knowing_tokenizer())
    with pytest.raises(UserError, match="none of vLLM's parsers of text"):
        action_parser("openai", knowing_tokenizer())


def test_a_parser_whose_marks_the_tokenizer_lacks_is_refused() -> None:
    with pytest.raises(UserError, match=r"tool_parser=llama3_json doesn't fit the tokenizer .*<\|python_tag\|>"):
        action_parser("llama3_json", byte_tokenizer(PLAIN))


def test_a_parser_that_does_not_read_what_the_template_prints_is_refused() -> None:
    with pytest.raises(UserError, match=r"pythonic doesn't read how .* prints a call; .*hermes.* does: '<tool_call>"):
        action_parser("pythonic", byte_tokenizer(HERMES))
    assert action_parser("qwen3_json", byte_tokenizer(HERMES))(CALLS["hermes"], TOOLS).calls


# --- the two readers of the Hermes form agree

_PIECES = [
    "<tool_call>", "</tool_call>", "<tool_call>\n", "\n</tool_call>", '{"name": "f", "arguments": {}}',
    '{"name": "f", "arguments": {"a": "é", "b": [1, 2.50, null]}}', '{"name": "f"', '"arguments": {"a": 1}}', "{", "}",
    '{"name": "g", "arguments": {"a": "</tool_call>"}}', '{"name": "g", "arguments": {"a": "<tool_call>"}}',
    '{"arguments": {}, "name": "h", "id": 3}', '{"name": "h", "arguments": "{}"}', '{"name": 3, "arguments": {}}',
    '{"name": "h", "arguments": {"a": NaN}}', '{"name": "h", "arguments": {"a": 1e999}}', "[]", "null", "'", '"', "\\",
    " ", "\n", "\u00a0", "\x0b", "talk", "<think>", "</think>", "<|im_end|>", "<tool_call",
    '{"name": "", "arguments": {}}',
]  # fmt: skip


def served(text: str) -> Action:
    """What vLLM's own parser makes of a text, thoughts aside, as a server would pass it on."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers.hermes_tool_parser import Hermes2ProToolParser

    logging.getLogger("vllm.tool_parsers").setLevel(logging.CRITICAL)
    found = Hermes2ProToolParser(knowing_tokenizer()).extract_tool_calls(text, ChatCompletionRequest(messages=[]))
    calls = tuple(ToolCall(call.function.name, call.function.arguments) for call in found.tool_calls)
    return Action((found.content or "").strip() or (None if calls else ""), calls)


# Calls that vLLM makes of text that an environment can't run, or that the model hadn't ended: malformed with us.
_STRICTER = {
    "unclosed_tool_call", "arguments_not_object", "missing_name", "not_finite", "too_deep", "lone_surrogate",
    "too_many_calls", "unclosed_think", "unopened_tool_call",
}  # fmt: skip


def test_our_reader_of_the_hermes_form_and_vllms_agree(hermes: ParseAction) -> None:
    rng = random.Random(0)
    texts = ["".join(rng.choice(_PIECES) for _ in range(rng.randint(1, 9))) for _ in range(6000)]
    texts += [_damaged(CALLS["hermes"] * rng.randint(1, 2), rng) for _ in range(4000)]
    seen: dict[str | None, int] = {}
    for text in texts:
        ours, through = parse_completion(text), hermes(text, TOOLS)
        assert ours == through, text
        seen[ours.malformed] = seen.get(ours.malformed, 0) + 1
        if ours.malformed is None and "think>" not in text:
            assert ours == served(text.strip().removesuffix("<|im_end|>").strip()), text
        elif ours.malformed not in _STRICTER and "think>" not in text:
            assert served(text.strip()).calls == (), text  # vLLM doesn't read it either, and says message
    assert seen[None] > 1000
    assert len(seen) > 8


def _damaged(text: str, rng: random.Random) -> str:
    """One character dropped, doubled or changed, or the end cut."""
    at = rng.randrange(len(text))
    return rng.choice(
        [text[:at], text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], text[:at] + "}" + text[at + 1 :]]
    )


@pytest.mark.parametrize("name", sorted(CALLS))
def test_no_text_makes_a_parser_raise_and_every_call_can_be_run(name: str) -> None:
    parse, rng = family(name), random.Random(name)
    pieces = [
        CALLS[name],
        *FORMS[name].opens,
        *(m for pair in FORMS[name].pairs for m in pair),
        *_PIECES[4:16],
        "\ud800",
    ]
    for _ in range(150):
        text = rng.choice([_damaged(CALLS[name], rng), "".join(rng.choice(pieces) for _ in range(rng.randint(1, 6)))])
        action = parse(text, TOOLS)
        assert not (action.malformed and action.calls)
        assert action.content is not None or action.calls
        for call in action.calls:
            assert call.name
            assert isinstance(json.loads(call.arguments), dict)
