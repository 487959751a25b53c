"""Tokenizer, template, corpus and files."""

import json
import random
from itertools import islice

import pytest
from transformers import AutoTokenizer

from pivot.world.corpus import (
    CONTEXT_WEIGHT,
    REPEATED_LENGTH,
    documents,
    make_tokenizer,
    repeated,
    write_trajectories,
)
from pivot.world.expert import expert_trajectories
from pivot.world.orders import CITIES, ITEMS, NAMES, POLICY, TOOLS
from pivot.world.tokenizer import END, PAD, SPECIAL_TOKENS, START, VOCABULARY, render


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


def test_special_tokens(tokenizer):
    assert len(tokenizer) == VOCABULARY
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.pad_token_id) == (END, PAD, 0)
    for token in SPECIAL_TOKENS:
        assert len(tokenizer.encode(token)) == 1
    # Engines decode without special tokens; the calls must survive that.
    text = "<tool_call>\n{}\n</tool_call>"
    assert tokenizer.decode(tokenizer.encode(text + END), skip_special_tokens=True) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\n  \t\n",
        "order 4821",
        'K7 "x": [1]',
        "Ünïcode ñ 漢字 ١٢ 🙂",
        "a\u0301\u200b\x00",
        '{"a b": {"c_d":1}}',
        "@a.b@",
        "x" * 999,
    ],
)
def test_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_digits_stand_alone(tokenizer):
    assert [tokenizer.decode([token]) for token in tokenizer.encode("4821")] == ["4", "8", "2", "1"]


def test_what_is_copied_has_the_same_tokens_everywhere(tokenizer):
    for word in (*NAMES, *CITIES, *ITEMS):
        (token,) = tokenizer.encode(word)
        for text in (
            f"I am {word}.",
            f'{{"city": "{word}"}}',
            f'"city":"{word}","',
            f"for the {word}, please",
        ):
            assert token in tokenizer.encode(text), (word, text)


def test_training_is_deterministic_and_survives_saving(tokenizer, tmp_path):
    again = make_tokenizer()
    assert again.get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "system", "content": POLICY}, {"role": "user", "content": "Hi 12"}]
    options = {"tools": list(TOOLS), "add_generation_prompt": True, "return_dict": False}
    ids = loaded.apply_chat_template(messages, **options)
    assert ids == tokenizer.apply_chat_template(messages, **options)
    assert ids == tokenizer.encode(render(messages, TOOLS, add_generation_prompt=True))
    assert (loaded.eos_token, loaded.pad_token, loaded.chat_template) == (END, PAD, tokenizer.chat_template)


def test_prompts_are_short(tokenizer):
    system = tokenizer.encode(render([{"role": "system", "content": POLICY}], TOOLS))
    assert len(system) <= 130
    lengths, actions = [], []
    for trajectory in expert_trajectories(100, 0):
        for turn, message in enumerate(trajectory.messages):
            if message["role"] == "assistant":
                prompt = tokenizer.encode(render(trajectory.messages[:turn], TOOLS, add_generation_prompt=True))
                whole = tokenizer.encode(render(trajectory.messages[: turn + 1], TOOLS))
                lengths.append(len(prompt))
                actions.append(len(whole) - len(prompt) - 1)
    assert sum(lengths) / len(lengths) <= 220
    assert max(actions) <= 20


def action_text(message):
    if not message.get("tool_calls"):
        return message["content"]
    calls = [call["function"] for call in message["tool_calls"]]
    rows = (f'{{"name": "{call["name"]}", "arguments": {call["arguments"]}}}' for call in calls)
    return "\n".join(f"<tool_call>\n{row}\n</tool_call>" for row in rows)


def test_template_is_prefix_stable(tokenizer):
    for trajectory in expert_trajectories(50, 1):
        whole = tokenizer.encode(render(trajectory.messages, TOOLS))
        for turn, message in enumerate(trajectory.messages):
            if message["role"] != "assistant":
                continue
            prompt = tokenizer.encode(render(trajectory.messages[:turn], TOOLS, add_generation_prompt=True))
            action = tokenizer.encode(f"{action_text(message)}{END}\n")
            assert whole[: len(prompt) + len(action)] == prompt + action


def test_template_forms():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"b":1,  "a": 2}'}}
    bare = {"id": "2", "type": "function", "function": {"name": "g", "arguments": {"b": "é", "a": 2}}}
    text = render(
        [
            {"role": "user", "content": None},
            {"role": "assistant", "content": None, "tool_calls": [call, bare]},
            {"role": "tool", "tool_call_id": "1", "content": None},
            {"role": "assistant", "content": "Hm", "tool_calls": [call]},
            {"role": "system", "content": "late"},
            {"role": "assistant", "content": "Bye"},
        ],
        add_generation_prompt=True,
    )
    first = '<tool_call>\n{"name": "f", "arguments": {"b":1,  "a": 2}}\n</tool_call>'
    second = '<tool_call>\n{"name": "g", "arguments": {"b": "é", "a": 2}}\n</tool_call>'
    assert text == (
        f"{START}user\n{END}\n{START}assistant\n{first}\n{second}{END}\n"
        f"{START}tool\n<tool_response></tool_response>{END}\n{START}assistant\nHm\n{first}{END}\n"
        f"{START}system\nlate{END}\n{START}assistant\nBye{END}\n{START}assistant\n"
    )


def test_documents(tokenizer):
    first = list(islice(documents(tokenizer, 4), 60))
    assert first == list(islice(documents(tokenizer, 4), 60))
    assert first != list(islice(documents(tokenizer, 5), 60))
    talks = [document for document in first if document.tokens[-1] == tokenizer.pad_token_id]
    assert 0 < len(talks) < len(first)  # the others are repeated random tokens
    for document in talks:
        assert len(document.tokens) == len(document.loss_weights)
        assert set(document.loss_weights) <= {0.0, CONTEXT_WEIGHT, 1.0}
        text = tokenizer.decode(list(document.tokens))
        pairs = zip(document.tokens, document.loss_weights, strict=True)
        learned = tokenizer.decode([token for token, weight in pairs if weight == 1.0])
        parts = [part.split(END)[0] + END for part in text.split(f"{START}assistant\n")[1:]]
        assert learned == "".join(parts)


def test_repeated_tokens_count_only_the_second_time(tokenizer):
    document = repeated(tokenizer, random.Random(0))
    assert len(document.tokens) == len(document.loss_weights) >= REPEATED_LENGTH
    [start], [end] = tokenizer.encode(START), tokenizer.encode(END)
    rest = list(zip(document.tokens, document.loss_weights, strict=True))
    while rest:
        cut = [token for token, _ in rest].index(end)
        segment = [token for token, _ in rest[1:cut]]
        assert rest[0] == (start, 0.0)
        assert 4 <= len(segment) <= 12
        assert [weight for _, weight in rest[: cut + 1]] == [0.0] * (cut + 1)
        assert rest[cut + 1 : 2 * cut] == [(token, 1.0) for token in segment]
        rest = rest[2 * cut :]


def test_write_trajectories(tmp_path):
    trajectories = expert_trajectories(3, 0)
    path = tmp_path / "expert.jsonl"
    assert write_trajectories(trajectories, path) == 3
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["id"] for row in rows] == [t.trajectory_id for t in trajectories]
    assert rows[0] == {
        "id": "orders-1000000000-0", "domain": "orders", "success": True,
        "messages": list(trajectories[0].messages), "tools": list(TOOLS),
    }  # fmt: skip
