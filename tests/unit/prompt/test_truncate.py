"""Long histories lose whole turns out of their middle, never a part of a message, never a result without its call."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.prompt import PromptEncoder, PromptError
from pivot.prompt.truncate import head_length, possible_cuts
from tests.unit.prompt.templates import HERMES, assistant, byte_tokenizer, result, user

SYSTEM = {"role": "system", "content": "policy"}


def test_the_head_is_everything_up_to_the_first_user_message() -> None:
    assert head_length([SYSTEM, user("q"), assistant("a"), user("r")]) == 2
    assert head_length([SYSTEM, assistant("hello"), user("q"), assistant("a")]) == 3
    assert head_length([SYSTEM, SYSTEM, assistant("a")]) == 2
    assert head_length([assistant("a")]) == 0


HISTORY = [
    SYSTEM, user("q1"),
    assistant(calls=("a", "b")), result("a"), result("b"),
    assistant("so"), user("q2"),
    assistant(calls=("c",)), result("c"),
]  # fmt: skip


def test_a_turn_is_an_assistant_message_with_its_results_and_the_next_words_of_the_user() -> None:
    assert possible_cuts(HISTORY) == [5, 7]
    assert possible_cuts(HISTORY[:7]) == [5]
    assert possible_cuts(HISTORY[:5]) == []
    assert possible_cuts(HISTORY[:2]) == []
    assert possible_cuts([SYSTEM, user("q"), user("and"), assistant("a"), assistant("b")]) == [4]


def test_a_late_result_keeps_its_call() -> None:
    late = [user("q"), assistant(calls=("a",)), assistant("wait"), result("a"), assistant("b"), user("r")]
    assert possible_cuts(late) == [4]
    reused = [user("q"), assistant(calls=("a",)), result("a"), assistant(calls=("a",)), result("a")]
    assert possible_cuts(reused) == [3]


def conversation(turns: list[int]) -> list[dict[str, Any]]:
    """`turns[i]` results in turn i; 0 is a message that the user answers."""
    messages = [SYSTEM, user("question")]
    for number, results in enumerate(turns):
        ids = tuple(f"id{number}_{i}" for i in range(results))
        messages.append(assistant(f"turn {number}", calls=ids))
        messages += [result(given, f"result {given}") for given in ids] or [user(f"reply {number}")]
    return messages


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.integers(50, 1500))
def test_a_truncated_prompt_is_the_head_and_the_newest_turns(turns: list[int], room: int) -> None:
    messages = conversation(turns)
    tokenizer = byte_tokenizer(HERMES)
    plain, prompts = PromptEncoder(tokenizer), PromptEncoder(tokenizer, over_long="truncate")
    whole = plain.encode(messages, (), 10**6)
    options = [messages, *(messages[:2] + messages[cut:] for cut in possible_cuts(messages))]
    fitting = [option for option in options if len(plain.encode(option, (), 10**6).tokens) <= room]
    if not fitting:
        with pytest.raises(PromptError) as caught:
            prompts.encode(messages, (), room)
        assert caught.value.reason == "over_long_history"
        return
    prompt = prompts.encode(messages, (), room)
    assert prompt.tokens == plain.encode(fitting[0], (), 10**6).tokens  # as little as possible is taken out
    assert ("truncated" in prompt.notes) == (prompt.tokens != whole.tokens)
    calls = [call["id"] for message in fitting[0] for call in message.get("tool_calls", ())]
    assert [message["tool_call_id"] for message in fitting[0] if message["role"] == "tool"] == calls
    roles = [message["role"] for message in fitting[0]]
    assert ("user", "user") not in pairwise(roles)


def test_the_room_leaves_a_token_for_the_answer_or_a_whole_one() -> None:
    tokenizer = byte_tokenizer(HERMES)
    assert PromptEncoder(tokenizer).room(1024, 96) == 1023
    truncating = PromptEncoder(tokenizer, over_long="truncate")
    assert truncating.room(1024, 96) == 928
    with pytest.raises(UserError, match=r"rollout\.max_tokens=1024 leaves no history"):
        truncating.room(1024, 1024)
