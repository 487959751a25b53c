"""What goes into and comes out of a rollout engine, wherever it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pivot.rollout.placement import Placement
from pivot.rollout.routes import Routes


@dataclass(frozen=True, slots=True)
class Sampling:
    """How completions are drawn.

    Attributes:
        temperature: Divisor of the logits; 0 means greedy.
        top_p: Nucleus mass in (0, 1]; 1 keeps the whole vocabulary. Below 1 the returned logprobs are those
            of the truncated distribution, which a trainer's full softmax does not reproduce.
        max_tokens: Upper bound on the tokens of one completion; the room left in the context bounds it too.
    """

    temperature: float
    top_p: float
    max_tokens: int

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be >= 0, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {self.max_tokens}")


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled continuation of a prompt.

    Attributes:
        token_ids: The sampled tokens, the end-of-turn token included when the model produced it.
        logprobs: One a token, in nats: log-softmax of the logits divided by the temperature (temperature 1
            when greedy).
        text: `token_ids` decoded without the end-of-turn token; other special tokens are kept visible.
        finish_reason: "stop" (end of turn) or "length" (`max_tokens` or the context ran out).
        weight_version: The version given with the weights that produced it, or its last tokens.
        older: (version, how many tokens) of those before, where older weights began it; the oldest first.
        routes: The experts that its tokens went to, where the engine was asked for them.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    text: str
    finish_reason: str
    weight_version: str
    older: tuple[tuple[str, int], ...] = ()
    routes: Routes | None = field(default=None, compare=False, repr=False)


class Sampler(Protocol):
    """What every placement of an engine offers: colocated, one rank or several a replica, or a server."""

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's own tokenizer."""

    @property
    def max_model_len(self) -> int:
        """Most tokens that a prompt and its completion hold together."""

    @property
    def placement(self) -> Placement:
        """Which prompts are this rank's: those of its replica."""

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> list[list[Completion]]:
        """`n` completions of every prompt, in order; see `Engine.sample`."""
