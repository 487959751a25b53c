"""Which prompt tokens lie in KV blocks that vLLM's prefix cache cannot offer: blocks that are not full, or that another
prompt shares only in part. `pivot.rollout.scheduler` uses it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ROOT = b""
"""The key of first blocks, which have no predecessor."""


@dataclass(slots=True)
class Tail:
    """Prompt tokens at the beginning of a KV block.

    Attributes:
        tokens: The prompt's tokens in it.
        block: vLLM's block.
        owner: The request that computes them.
        end: How many tokens the owner has computed when they are there.
        ready: They are.
    """

    tokens: tuple[int, ...]
    block: Any
    owner: Any
    end: int
    ready: bool = False

    def computed(self) -> bool:
        """Whether the tokens' keys and values lie in the block (from the next step on)."""
        self.ready = self.ready or self.owner.num_computed_tokens >= self.end
        return self.ready


class Tails:
    """What lies in blocks, by the hash of the blocks before."""

    def __init__(self, running: Callable[[Any], bool]) -> None:
        """Nothing yet; `running` says of a request that vLLM computes it, so that waiting for it will end."""
        self._running = running
        self._by_parent: dict[bytes, dict[int, Tail]] = {}
        self._parent_of: dict[int, bytes] = {}  # block id -> key

    def find(self, parent: bytes, tokens: Sequence[int]) -> tuple[Tail | None, int]:
        """The block that begins most like `tokens`, and how many tokens they share."""
        best, longest = None, 0
        for tail in list(self._by_parent.get(parent, {}).values()):
            if not tail.computed() and not self._running(tail.owner):  # aborted or preempted before it came to that
                self.forget(tail.block.block_id)
                continue
            length = 0
            for a, b in zip(tail.tokens, tokens, strict=False):
                if a != b:
                    break
                length += 1
            # Of equally long ones one that is there already.
            if (length, tail.computed()) > (longest, best is None or best.computed()):
                best, longest = tail, length
        return best, longest

    def add(self, parent: bytes, tail: Tail) -> None:
        """Remember a block."""
        self.forget(tail.block.block_id)
        self._by_parent.setdefault(parent, {})[tail.block.block_id] = tail
        self._parent_of[tail.block.block_id] = parent

    def holds(self, block_id: int) -> bool:
        """Whether the block is remembered."""
        return block_id in self._parent_of

    def forget(self, block_id: int) -> None:
        """The block has been given to another request."""
        parent = self._parent_of.pop(block_id, None)
        if parent is not None:
            tails = self._by_parent[parent]
            del tails[block_id]
            if not tails:
                del self._by_parent[parent]

    def clear(self) -> None:
        """The weights have changed: what is cached is worth nothing."""
        self._by_parent.clear()
        self._parent_of.clear()
