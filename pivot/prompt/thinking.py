"""Thoughts in assistant text: `<think>…</think>` in what a model writes, and what a history keeps of them."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

from pivot.trajectory.types import Message

Thinking = Literal["keep", "strip", "last"]

OPEN_THOUGHT, CLOSE_THOUGHT = THINK = ("<think>", "</think>")


@cache
def _tag(tags: tuple[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(tag) for tag in tags))


def strip_thinking(text: str, tags: tuple[str, str] = THINK) -> str | None:
    """Text without its thoughts, `<think>…</think>`; None when a thought is never closed.

    A `</think>` without its opening ends a thought that the prompt had opened, as thinking templates do.

    Args:
        text: What a model wrote.
        tags: What opens and closes a thought in the model's family.
    """
    kept: list[str] = []
    start = 0
    thinking = False
    for tag in _tag(tags).finditer(text):
        if tag.group() == tags[0]:
            if not thinking:
                kept.append(text[start : tag.start()])
            thinking = True
            continue
        if not thinking:
            kept.clear()
        thinking = False
        start = tag.end()
    if thinking:
        return None
    kept.append(text[start:])
    return "".join(kept)


def split_thought(content: str) -> tuple[str, str]:
    """The thought that assistant text begins with, tags included, and the rest; no thought is ""."""
    end = content.rfind(CLOSE_THOUGHT)
    if end == -1:
        return "", content
    end += len(CLOSE_THOUGHT)
    return content[:end], content[end:]


def has_thought(message: Message) -> bool:
    """Whether an assistant message carries a thought, as `reasoning_content` or inside its text."""
    return message["role"] == "assistant" and (
        bool(message.get("reasoning_content")) or CLOSE_THOUGHT in (message.get("content") or "")
    )


def without_thought(message: Message) -> Message:
    """The message without its thought, wherever it stands."""
    kept = {key: value for key, value in message.items() if key != "reasoning_content"}
    content = kept.get("content") or ""
    if CLOSE_THOUGHT in content:
        kept["content"] = split_thought(content)[1].lstrip()
    return kept


def with_thought_in_text(message: Message) -> Message:
    """The message with its `reasoning_content` in front of its text, for templates that don't read the key."""
    kept = {key: value for key, value in message.items() if key != "reasoning_content"}
    thought = f"{OPEN_THOUGHT}\n{message['reasoning_content'].strip()}\n{CLOSE_THOUGHT}"
    content = kept.get("content") or ""
    kept["content"] = f"{thought}\n\n{content}" if content else thought
    return kept


def choose_thoughts(messages: Sequence[Message], thinking: Thinking) -> tuple[list[Message], bool]:
    """The history with the thoughts that `thinking` keeps, and whether any was taken out.

    Args:
        messages: Canonical history.
        thinking: `keep` keeps every thought, `strip` none, `last` that of the newest assistant message.
    """
    if thinking == "keep":
        return list(messages), False
    newest = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    spared = newest if thinking == "last" else -1
    taken = [index != spared and has_thought(message) for index, message in enumerate(messages)]
    chosen = [without_thought(m) if out else m for m, out in zip(messages, taken, strict=True)]
    return chosen, any(taken)
