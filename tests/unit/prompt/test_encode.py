"""Prompts come from the checkpoint's own chat template, through a real Hugging Face tokenizer."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pivot.baseline.supervised import action_document
from pivot.errors import UserError
from pivot.mine.groups import Turn
from pivot.mine.turns import encode
from pivot.prompt import PromptEncoder, PromptError, parse_completion, render_action
from pivot.trajectory import Action, Candidate, ToolCall, candidates
from pivot.trajectory.messages import read_messages, read_tools
from pivot.trajectory.openai_chat import read as read_chat
from pivot.world.expert import expert_trajectories
from pivot.world.tokenizer import render
from tests.unit.prompt.templates import FORGETFUL, HERMES, PLAIN, THINKING, TINY_MOE, byte_tokenizer
from tests.unit.trajectory.examples import WEATHER_TOOL, call

ROOM = 1_000_000
SHARED = Path(__file__).parents[4] / "shared/data"

HISTORY = read_messages(
    [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "tool_calls": [call("get_weather", '{"city":"Tromsø"}')]},
        {"role": "tool", "content": "snow"},
    ]
)
TOOLS = read_tools([WEATHER_TOOL])


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(HERMES)


@pytest.fixture(scope="module")
def tiny() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(TINY_MOE)


def expert_candidates(count: int, seed: int) -> list[Candidate]:
    every = [item for trajectory in expert_trajectories(count, seed=seed) for item in candidates(trajectory)]
    return [item for item in every if isinstance(item, Candidate)]


def sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def test_null_content_is_empty_and_arguments_are_printed_as_objects(tokenizer: Any) -> None:
    assert PromptEncoder(tokenizer).text(HISTORY, ()) == (
        "<|im_start|>user\nOslo?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Tromsø"}}\n'
        "</tool_call>"
        "<|im_end|>\n<|im_start|>tool\nsnow<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tokens_are_those_of_the_text(tokenizer: Any) -> None:
    prompts = PromptEncoder(tokenizer)
    ids = list(prompts.encode(HISTORY, TOOLS, ROOM).tokens)
    text = prompts.text(HISTORY, TOOLS)
    assert all(type(token) is int for token in ids)
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert '"default": 1' in text


ACTIONS = [
    Action("It snows."),
    Action(None, (ToolCall("f", '{"a":  "ø", "n": [1, 2.5]}'),)),
    Action("Look:", (ToolCall("f", "{}"), ToolCall("g", '{"x": null}'))),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_prompt_and_rendered_action_are_what_the_template_prints_for_the_whole(tokenizer: Any, action: Action) -> None:
    calls = [call(c.name, c.arguments) for c in action.calls]
    whole = read_messages([*HISTORY, {"role": "assistant", "content": action.content, "tool_calls": calls}])
    prompts = PromptEncoder(tokenizer)
    end = "<|im_end|>\n<|im_start|>assistant\n"
    assert prompts.text(whole, ()) == prompts.text(HISTORY, ()) + render_action(action) + end


@pytest.mark.parametrize("action", ACTIONS)
def test_the_supervised_answer_is_what_the_template_prints_and_the_end_of_turn(tokenizer: Any, action: Action) -> None:
    answer = PromptEncoder(tokenizer).answer(HISTORY, (), action)
    assert tokenizer.decode(answer) == render_action(action) + "<|im_end|>"
    assert answer[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("template", "action", "text"),
    [
        (THINKING, Action("It snows."), "<think></think>It snows."),  # what the template puts before is learnt too
        (PLAIN, Action(None, (ToolCall("f", "{}"),)), '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'),
        (FORGETFUL, Action("So:", (ToolCall("f", "{}"),)), render_action(Action("So:", (ToolCall("f", "{}"),)))),
        ("{{ messages | length }}", Action("Hi"), "Hi"),  # rewrites the past
        (PLAIN.replace("<|im_end|>", "<end>"), Action("Hi"), "Hi<end>"),  # ends a turn with a token of its own
    ],
)
def test_the_answer_where_a_template_does_otherwise(template: str, action: Action, text: str) -> None:
    tokenizer = byte_tokenizer(template)
    answer = PromptEncoder(tokenizer).answer(HISTORY, (), action)
    assert tokenizer.decode(answer) == text + "<|im_end|>"


def test_a_broken_call_in_the_history_is_shown_as_text(tokenizer: Any) -> None:
    history = read_messages([{"role": "assistant", "content": "", "tool_calls": [call("f", "{oops")]}])
    assert '"arguments": "{oops"' in PromptEncoder(tokenizer).text(history, ())


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (HERMES, "no elves"),
        ("{{ messages[0].content + none }}", "can only concatenate str"),
        ("{{ messages[0].role | items | list }}", "Can only get item pairs from a mapping"),
    ],
)
def test_a_history_that_the_template_refuses_is_a_prompt_error(template: str, why: str) -> None:
    with pytest.raises(PromptError, match=why) as caught:
        PromptEncoder(byte_tokenizer(template)).encode([{"role": "elf", "content": ""}], (), ROOM)
    assert caught.value.reason == "refused_by_chat_template"


def test_a_history_that_is_too_long_is_a_prompt_error(tokenizer: Any) -> None:
    prompts = PromptEncoder(tokenizer)
    length = len(prompts.encode(HISTORY, (), ROOM).tokens)
    assert len(prompts.encode(HISTORY, (), length).tokens) == length
    with pytest.raises(PromptError, match=f"has {length} tokens, {length - 1} fit") as caught:
        prompts.encode(HISTORY, (), length - 1)
    assert caught.value.reason == "over_long_history"


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(UserError, match="no chat template"):
        PromptEncoder(byte_tokenizer(None))


def test_the_identity_changes_with_everything_that_changes_prompts(tokenizer: Any) -> None:
    variants = [
        PromptEncoder(tokenizer),
        PromptEncoder(tokenizer, thinking="strip"),
        PromptEncoder(tokenizer, over_long="truncate"),
        PromptEncoder(byte_tokenizer(PLAIN)),
    ]
    assert len({prompts.identity for prompts in variants}) == 4
    assert PromptEncoder(byte_tokenizer(HERMES)).identity == variants[0].identity


def test_skips_and_notes_are_counted(tokenizer: Any) -> None:
    [first, *_] = expert_candidates(1, seed=3)
    refused = replace(first, messages=({"role": "elf", "content": ""},))
    long = replace(first, messages=({"role": "user", "content": "x" * 30_000},))
    encoded = encode([first, refused, long], PromptEncoder(byte_tokenizer(PLAIN)), 9_000)
    assert [turn.candidate for turn in encoded.turns] == [first, refused]  # the plain template prints elves
    assert encoded.skipped == {"over_long_history": 1}
    assert encoded.notes == {"template_drops_tools": 2, "template_drops_tool_descriptions": 2}
    encoded = encode([first, refused, long], PromptEncoder(tokenizer), 9_000)
    assert encoded.skipped == {"over_long_history": 1, "refused_by_chat_template": 1}
    assert encoded.notes == {}


# Made with the tiny model's tokenizer before prompts had notes: the stored checkpoint was trained on these tokens.
def test_the_embedded_world_has_the_prompts_and_examples_that_its_model_was_trained_on(tiny: Any) -> None:
    prompts = PromptEncoder(tiny)
    encoded = encode(expert_candidates(12, seed=3), prompts, 1023)
    assert (len(encoded.turns), encoded.skipped, encoded.notes) == (51, {}, {})
    assert sha([list(turn.prompt) for turn in encoded.turns]) == "48365472ba9dfa6c"
    documents = [action_document(turn, prompts) for turn in encoded.turns]
    assert sha([[list(item.tokens), list(item.loss_weights)] for item in documents]) == "2ee2f36bb886de0a"


def test_the_embedded_world_prints_actions_as_they_are_rendered_and_parsed() -> None:
    for trajectory in expert_trajectories(12, seed=3):
        for item in candidates(trajectory):
            assert isinstance(item, Candidate)
            prompt = render(item.messages, item.tools, add_generation_prompt=True)
            whole = render(trajectory.messages[: len(item.messages) + 1], item.tools)
            assert whole == prompt + render_action(item.expected) + "<|im_end|>\n"
            assert parse_completion(render_action(item.expected)) == item.expected


MARKED = [
    Action("answer-7f3a"),
    Action("answer-7f3a", (ToolCall("secret_tool_7f3a", '{"secret-key-7f3a": "secret-value-7f3a"}'),)),
    Action("<think>thought-7f3a</think>answer-7f3a"),
]


@pytest.mark.parametrize("settings", [{}, {"thinking": "last", "over_long": "truncate"}])
@pytest.mark.parametrize("action", MARKED)
@pytest.mark.parametrize("template", [HERMES, PLAIN, THINKING, FORGETFUL])
def test_the_experts_action_is_not_in_the_prompt(template: str, action: Action, settings: Any) -> None:
    tokenizer = byte_tokenizer(template)
    prompts = PromptEncoder(tokenizer, **settings)
    base = expert_candidates(1, seed=3)[2]
    candidate = replace(base, messages=HISTORY, tools=TOOLS, expected=action)
    [turn] = encode([candidate], prompts, ROOM).turns
    assert "7f3a" not in tokenizer.decode(turn.prompt)
    document = action_document(turn, prompts)
    assert "7f3a" in tokenizer.decode(document.tokens)
    assert tuple(document.tokens[: len(turn.prompt)]) == turn.prompt
    assert document.loss_weights == [0.0] * len(turn.prompt) + [1.0] * (len(document.tokens) - len(turn.prompt))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data beside the repository")
def test_on_real_trajectories_a_prompt_depends_on_the_history_alone(tiny: Any) -> None:
    lines = (SHARED / "tau2_sft/train.jsonl").read_text().splitlines()[:6]
    prompts = PromptEncoder(tiny)
    seen = 0
    for number, line in enumerate(lines):
        trajectory = read_chat(json.loads(line), f"train.jsonl:{number + 1}", ())
        turns = [item for item in candidates(trajectory) if isinstance(item, Candidate)]
        other = [replace(item, expected=turns[0].expected, candidate_id="other") for item in turns]
        mine, theirs = encode(turns, prompts, ROOM), encode(other, prompts, ROOM)
        assert [turn.prompt for turn in mine.turns] == [turn.prompt for turn in theirs.turns]
        for turn in mine.turns:
            assert parse_completion(tiny.decode(action_of(turn, prompts))) == without_spaces(turn.candidate.expected)
        seen += len(turns)
    assert seen > 50


def action_of(turn: Turn, prompts: PromptEncoder) -> list[int]:
    return list(action_document(turn, prompts).tokens)[len(turn.prompt) :]


def without_spaces(action: Action) -> Action:
    """The action as a parser reads it: text stripped, arguments printed anew."""
    calls = tuple(ToolCall(c.name, json.dumps(json.loads(c.arguments), ensure_ascii=False)) for c in action.calls)
    return Action((action.content or "").strip() or (None if calls else ""), calls)
