"""A sample that an engine gave up half-way, and that newer weights may go on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Begun:
    """The tokens of a sample so far.

    Attributes:
        token_ids: Sampled tokens.
        logprobs: One a token, in nats, under the weights that sampled it.
        spans: (version of the weights, how many tokens they sampled), in order; all tokens are in one.
        finish_reason: As of a `Completion`; None: there is more to come.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    spans: tuple[tuple[str, int], ...]
    finish_reason: str | None

    def then(self, tokens: Sequence[int], logprobs: Sequence[float], version: str, reason: str | None) -> Self:
        """With what came next, under weights of this version.

        Raises:
            RuntimeError: not one logprob a token.
        """
        if len(tokens) != len(logprobs):
            raise RuntimeError("vLLM returned another number of logprobs than of tokens")
        spans = (*self.spans, (version, len(tokens))) if tokens else self.spans
        return type(self)((*self.token_ids, *tokens), (*self.logprobs, *logprobs), spans, reason)


NOTHING = Begun((), (), (), None)
