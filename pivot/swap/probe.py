"""After a swap the engine and the policy must give the same tokens the same probability. This asks them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pivot.swap.errors import SwapError

if TYPE_CHECKING:
    from pivot.policy import PackedGroup


class Trainer(Protocol):
    """What a probe needs of a policy."""

    def logprobs(
        self, micro_batches: list[list["PackedGroup"]], *, temperature: float = 1.0
    ) -> list[tuple[Tensor, Tensor]]:
        """Logprobs and entropies of the tokens after each sample's prompt; collective."""


class Scorer(Protocol):
    """What a probe needs of an engine."""

    def score_and_rank(self, sequences: Sequence[list[int]]) -> list[tuple[list[float], list[int]]]:
        """Logprob of every token after the first, and its rank there (1: the likeliest)."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How far engine and policy are apart.

    Attributes:
        max_gap: Largest absolute difference of two logprobs (nats); NaN when either side produced one.
        mean_gap: Mean absolute difference over all tokens.
        tokens: Number of tokens compared.
        sequence: Index of the sequence with the largest gap.
        position: Position in it (0 is the first token, which is never compared).
        policy: The policy's logprob there.
        engine: The engine's logprob there.
        top1: Share of tokens that the engine ranks first, of those to which the policy gives more than one half (which
            it therefore ranks first); None where there is no such token.
    """

    max_gap: float
    mean_gap: float
    tokens: int
    sequence: int
    position: int
    policy: float
    engine: float
    top1: float | None = None

    def refused(self, largest: float, mean: float = math.inf) -> str | None:
        """Why the engine cannot be said to serve the policy's weights: a gap is over its limit or not a number."""
        if self.max_gap <= largest and self.mean_gap <= mean:
            return None
        return (
            f"after the swap engine and policy disagree: sequence {self.sequence}, token {self.position}, "
            f"logprob {self.engine:.6f} in the engine, {self.policy:.6f} in the policy; "
            f"largest gap {self.max_gap:.3g}, limit {largest:.3g}, mean {self.mean_gap:.3g} over {self.tokens} tokens, "
            f"limit {mean:.3g}"
        )

    def check(self, largest: float) -> None:
        """Stops a run whose engine does not serve the policy's weights.

        Raises:
            SwapError: `refused` says why.
        """
        if (reason := self.refused(largest)) is not None:
            raise SwapError(reason)

    def metrics(self) -> dict[str, float]:
        """What a step logs of it."""
        sure = {} if self.top1 is None else {"probe_top1": self.top1}
        return {"probe_gap_max": self.max_gap, "probe_gap_mean": self.mean_gap} | sure


@dataclass(frozen=True, slots=True)
class Expected:
    """One half of a probe: what the policy says of some sequences, for when it is not there to be asked.

    Attributes:
        sequences: Token ids.
        starts: Position of the first token of each that is compared.
        logprobs: The policy's, one tensor a sequence, of the tokens from there on.
    """

    sequences: list[list[int]]
    starts: list[int]
    logprobs: list[Tensor]

    def compare(self, engine: Scorer) -> ProbeResult:
        """The other half: the engine scores the same tokens."""
        scores = engine.score_and_rank(self.sequences)
        rows = [row[start - 1 :] for (row, _), start in zip(scores, self.starts, strict=True)]
        places = [row[start - 1 :] for (_, row), start in zip(scores, self.starts, strict=True)]
        return replace(compare(self.logprobs, rows, self.starts), top1=top1(self.logprobs, places))


def probe(policy: Trainer, engine: Scorer, sequences: Sequence[Sequence[int]]) -> ProbeResult:
    """Compares the logprobs that both give to the same tokens, at temperature 1; see `expect`."""
    return expect(policy, sequences).compare(engine)


def expect(policy: Trainer, sequences: Sequence[Sequence[int]], starts: Sequence[int] | None = None) -> Expected:
    """The policy's logprobs of some sequences, at temperature 1.

    Args:
        policy: Its `logprobs` is collective: every rank probes the same sequences.
        sequences: Token ids, two or more a sequence, a few sequences.
        starts: Position of the first token of each that is compared, at least 1, where tokens before it are context;
            None compares all but the first.

    Raises:
        ValueError: nothing to compare.
    """
    from pivot.policy import PackedGroup  # here, so that manifests and pushes do without Megatron

    if not sequences or min(map(len, sequences)) < 2:
        raise ValueError("a probe needs sequences of at least two tokens")
    starts = [1] * len(sequences) if starts is None else list(starts)
    pairs = zip(sequences, starts, strict=True)
    [(logprobs, _)] = policy.logprobs([[PackedGroup.sequence(torch.tensor(tokens), start) for tokens, start in pairs]])
    ours = logprobs.split([len(tokens) - start for tokens, start in zip(sequences, starts, strict=True)])
    return Expected([*map(list, sequences)], starts, list(ours))


def compare(
    policy: Sequence[Tensor], engine: Sequence[Sequence[float]], starts: Sequence[int] | None = None
) -> ProbeResult:
    """The result for two sets of logprobs, one tensor or list a sequence, from position `starts` (default 1) on."""
    theirs = [torch.tensor(scores, dtype=torch.float64) for scores in engine]
    ours = [scores.detach().to("cpu", torch.float64) for scores in policy]
    gaps = [(a - b).abs() for a, b in zip(ours, theirs, strict=True)]
    flat = torch.cat(gaps)
    worst = int(flat.argmax())  # the first NaN, when there is one
    sequence, position = _locate(worst, [len(gap) for gap in gaps])
    return ProbeResult(
        max_gap=float(flat.max()),
        mean_gap=float(flat.mean()),
        tokens=len(flat),
        sequence=sequence,
        position=position + (starts[sequence] if starts else 1),
        policy=float(ours[sequence][position]),
        engine=float(theirs[sequence][position]),
    )


def top1(policy: Sequence[Tensor], places: Sequence[Sequence[int]]) -> float | None:
    """Share of tokens that the engine ranks first, of those that the policy certainly does.

    Args:
        policy: Logprobs, one tensor a sequence.
        places: The engine's ranks of the same tokens.
    """
    sure = torch.cat([scores.detach().cpu() for scores in policy]) > math.log(0.5)
    first = torch.tensor([place == 1 for row in places for place in row])
    return float(first[sure].float().mean()) if bool(sure.any()) else None


def _locate(index: int, lengths: Sequence[int]) -> tuple[int, int]:
    """(sequence, offset in it) of an index into the sequences laid end to end."""
    for sequence, length in enumerate(lengths):
        if index < length:
            return sequence, index
        index -= length
    raise IndexError(index)
