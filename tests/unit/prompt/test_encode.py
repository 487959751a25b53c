"""Prompts come from the checkpoint's own chat template, through a real Hugging Face tokenizer."""

from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from pivot.prompt import PromptError, encode_prompt, parse_completion, render_action, render_prompt
from pivot.trajectory import Action, Candidate, ToolCall, candidates
from pivot.trajectory.messages import read_messages, read_tools
from pivot.world.expert import expert_trajectories
from pivot.world.tokenizer import render
from tests.unit.trajectory.examples import WEATHER_TOOL, call

# The Hermes/Qwen form: calls as JSON objects in tags, tools in the first block.
TEMPLATE = """\
{%- if tools %}{{- '<|im_start|>tools' }}{% for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{% endfor %}
{{- '<|im_end|>\\n' }}{% endif %}
{%- for message in messages %}
{%- if message.role == 'elf' %}{{- raise_exception('no elves') }}{% endif %}
{{- '<|im_start|>' + message.role + '\\n' + message.content }}
{%- for tool_call in message.tool_calls or [] %}
{%- if not loop.first or message.content %}{{- '\\n' }}{% endif %}
{{- '<tool_call>\\n{"name": "' + tool_call.function.name + '", "arguments": ' }}
{{- tool_call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    alphabet = {char: index for index, char in enumerate(sorted(ByteLevel.alphabet()))}
    model = Tokenizer(BPE(vocab=alphabet, merges=[]))
    model.pre_tokenizer = ByteLevel(add_prefix_space=False)
    model.decoder = ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=model)
    fast.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    fast.chat_template = TEMPLATE
    return fast


HISTORY = read_messages(
    [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "tool_calls": [call("get_weather", '{"city":"Tromsø"}')]},
        {"role": "tool", "content": "snow"},
    ]
)


def test_null_content_is_empty_and_arguments_are_printed_as_objects(tokenizer: Any) -> None:
    assert render_prompt(tokenizer, HISTORY, ()) == (
        "<|im_start|>user\nOslo?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Tromsø"}}\n'
        "</tool_call>"
        "<|im_end|>\n<|im_start|>tool\nsnow<|im_end|>\n<|im_start|>assistant\n"
    )


def test_tokens_are_those_of_the_text(tokenizer: Any) -> None:
    tools = read_tools([WEATHER_TOOL])
    ids = encode_prompt(tokenizer, HISTORY, tools)
    text = render_prompt(tokenizer, HISTORY, tools)
    assert all(type(token) is int for token in ids)
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer.encode(text, add_special_tokens=False)
    assert '"default": 1' in text


@pytest.mark.parametrize(
    "action",
    [
        Action("It snows."),
        Action(None, (ToolCall("f", '{"a":  "ø", "n": [1, 2.5]}'),)),
        Action("Look:", (ToolCall("f", "{}"), ToolCall("g", '{"x": null}'))),
    ],
)
def test_prompt_and_rendered_action_are_what_the_template_prints_for_the_whole(tokenizer: Any, action: Action) -> None:
    calls = [call(c.name, c.arguments) for c in action.calls]
    whole = read_messages([*HISTORY, {"role": "assistant", "content": action.content, "tool_calls": calls}])
    prompt = render_prompt(tokenizer, HISTORY, ())
    after = render_prompt(tokenizer, whole, ())
    assert after == prompt + render_action(action) + "<|im_end|>\n<|im_start|>assistant\n"


def test_a_broken_call_in_the_history_is_shown_as_text(tokenizer: Any) -> None:
    history = read_messages([{"role": "assistant", "content": "", "tool_calls": [call("f", "{oops")]}])
    assert '"arguments": "{oops"' in render_prompt(tokenizer, history, ())


def test_a_history_that_the_template_refuses_is_a_prompt_error(tokenizer: Any) -> None:
    with pytest.raises(PromptError, match="no elves"):
        encode_prompt(tokenizer, [{"role": "elf", "content": ""}], ())


def test_the_embedded_world_prints_actions_as_they_are_rendered_and_parsed() -> None:
    for trajectory in expert_trajectories(12, seed=3):
        for item in candidates(trajectory):
            assert isinstance(item, Candidate)
            prompt = render(item.messages, item.tools, add_generation_prompt=True)
            whole = render(trajectory.messages[: len(item.messages) + 1], item.tools)
            assert whole == prompt + render_action(item.expected) + "<|im_end|>\n"
            assert parse_completion(render_action(item.expected)) == item.expected
