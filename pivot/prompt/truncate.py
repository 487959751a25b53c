"""Where a history that is too long may be cut: whole turns out of its middle."""

from collections.abc import Sequence

from pivot.trajectory.types import Message


def head_length(messages: Sequence[Message]) -> int:
    """How many messages at the start always stay: up to the first user message, or else the system messages."""
    for index, message in enumerate(messages):
        if message["role"] == "user":
            return index + 1
    length = 0
    while length < len(messages) and messages[length]["role"] == "system":
        length += 1
    return length


def possible_cuts(messages: Sequence[Message]) -> list[int]:
    """Indices `i`, ascending, for which `messages[:head] + messages[i:]` is whole turns.

    A turn is an assistant message with all results of its calls and what the user says next, so the newest messages
    stay one conversation. Never separates a result from its call, however late it comes. The last index keeps the
    newest turn alone; a history with a single turn after its head has no cut.
    """
    head = head_length(messages)
    turns = [i for i in range(head, len(messages)) if messages[i]["role"] == "assistant"]
    earliest = len(messages)  # the oldest message that a result at or after the current index belongs to
    owners = _call_owners(messages)
    cuts = []
    for index in range(len(messages) - 1, head, -1):
        earliest = min(earliest, owners[index])
        if index in turns[1:] and earliest >= index:
            cuts.append(index)
    return cuts[::-1]


def _call_owners(messages: Sequence[Message]) -> list[int]:
    """For every tool result the index of the message that made its call; for everything else its own index."""
    made: dict[str, int] = {}
    owners = []
    for index, message in enumerate(messages):
        for call in message.get("tool_calls") or ():
            made[call["id"]] = index
        owners.append(made.get(message["tool_call_id"], index) if message["role"] == "tool" else index)
    return owners
