"""A group: one pivot, the G actions the current policy sampled for it, and their verdicts.

Mining, training and validation all start with the two functions here: `sample`, then `verify`.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from pivot.rollout.routes import Routes
from pivot.trajectory import Action, Candidate, Tool
from pivot.verify import Context, Verdict, Verifiers
from pivot.verify.types import ERROR


class Sampled(Protocol):
    """What the engine returns for one action."""

    @property
    def token_ids(self) -> tuple[int, ...]: ...
    @property
    def logprobs(self) -> tuple[float, ...]: ...
    @property
    def text(self) -> str: ...
    @property
    def finish_reason(self) -> str: ...
    @property
    def weight_version(self) -> str: ...
    @property
    def older(self) -> tuple[tuple[str, int], ...]: ...
    @property
    def routes(self) -> Routes | None: ...


@dataclass(frozen=True, slots=True)
class Turn:
    """A candidate with its encoded history: token ids of the prompt, generation prompt included."""

    candidate: Candidate
    prompt: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """One turn and its G samples with their verdicts, in the same order."""

    turn: Turn
    samples: tuple[Sampled, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def scored(self) -> tuple[tuple[Sampled, Verdict], ...]:
        """Samples with a verdict; where there is none (an unreachable judge) a sample counts for nothing."""
        pairs = zip(self.samples, self.verdicts, strict=True)
        return tuple((sample, verdict) for sample, verdict in pairs if verdict.status != ERROR)

    @property
    def rewards(self) -> tuple[float, ...]:
        """One a scored sample."""
        return tuple(verdict.reward for _, verdict in self.scored)

    @property
    def uniform(self) -> bool:
        """All rewards equal, or fewer than two: no gradient can come from this group (paper Prop. 3.1)."""
        return len(set(self.rewards)) < 2


@dataclass(frozen=True, slots=True)
class Scorer:
    """How a sampled text becomes a verdict: the engine's tool parser, then the verifier of the candidate's domain.

    `ask` is the colocated engine for a judge; None where its weights change.
    """

    parse: Callable[[str, Sequence[Tool]], Action]
    verifiers: Verifiers
    ask: Callable[[str, int], str | None] | None = None


Sampler = Callable[[list[list[int]], list[int], int], list[list[Sampled]]]


def sample_seed(seed: int, candidate_id: str, step: int = -1) -> int:
    """The seed of a group's first sample; it depends on nothing but the run seed, the candidate and the step.

    So a sample does not depend on the batch, the number of ranks or a restart. Sample i uses this seed plus i.
    """
    digest = hashlib.sha256(f"{seed}:{step}:{candidate_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x3FFFFFFF


def verify(turns: Sequence[Turn], samples: Sequence[Sequence[Sampled]], scorer: Scorer) -> list[Group]:
    """Score every sampled action by functional equivalence to the expert's (paper eq. 6)."""
    pairs = [(turn.candidate, sampled) for turn, group in zip(turns, samples, strict=True) for sampled in group]
    threads = max((scorer.verifiers.of(candidate.domain).threads for candidate, _ in pairs), default=1)
    if threads == 1:  # a function of the text: the same action of a group is read once
        known: dict[tuple[int, str, str], Verdict] = {}
        for candidate, sampled in pairs:
            if (action := (id(candidate), sampled.text, sampled.finish_reason)) not in known:
                known[action] = judge(candidate, sampled, scorer)
        verdicts = iter([known[id(one), sampled.text, sampled.finish_reason] for one, sampled in pairs])
    else:  # a judge waits on a network: ask for several verdicts at once
        with ThreadPoolExecutor(threads) as pool:
            verdicts = iter(list(pool.map(lambda pair: judge(pair[0], pair[1], scorer), pairs)))
    return [
        Group(turn, tuple(group), tuple(islice(verdicts, len(group))))
        for turn, group in zip(turns, samples, strict=True)
    ]


def judge(candidate: Candidate, sampled: Sampled, scorer: Scorer) -> Verdict:
    """One verdict; an action that ran into the token limit earns nothing, whatever its beginning says."""
    if sampled.finish_reason == "length":
        return Verdict(0.0, "over_long")
    actual = scorer.parse(sampled.text, candidate.tools)
    context = Context(candidate.tools, candidate.messages, scorer.ask)
    return scorer.verifiers.of(candidate.domain)(actual, candidate.expected, context)
