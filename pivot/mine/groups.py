"""A group: one pivot, the G actions the current policy sampled for it, and their verdicts.

Mining, training and validation all start with the two functions here: `sample`, then `verify`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pivot.prompt import parse_completion
from pivot.trajectory import Candidate
from pivot.verify import Verdict, Verifier


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
    def rewards(self) -> tuple[float, ...]:
        return tuple(verdict.reward for verdict in self.verdicts)

    @property
    def uniform(self) -> bool:
        """All rewards equal: no gradient can come from this group (paper Prop. 3.1)."""
        return min(self.rewards) == max(self.rewards)


Sampler = Callable[[list[list[int]], list[int], int], list[list[Sampled]]]


def sample_seed(seed: int, candidate_id: str, step: int = -1) -> int:
    """The seed of a group's first sample; it depends on nothing but the run seed, the candidate and the step.

    So a sample does not depend on the batch, the number of ranks or a restart. Sample i uses this seed plus i.
    """
    digest = hashlib.sha256(f"{seed}:{step}:{candidate_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & 0x3FFFFFFF


def verify(turns: Sequence[Turn], samples: Sequence[Sequence[Sampled]], verifier: Verifier) -> list[Group]:
    """Score every sampled action by functional equivalence to the expert's (paper eq. 6)."""
    return [
        Group(turn, tuple(group), tuple(judge(turn.candidate, sampled, verifier) for sampled in group))
        for turn, group in zip(turns, samples, strict=True)
    ]


def judge(candidate: Candidate, sampled: Sampled, verifier: Verifier) -> Verdict:
    """One verdict; an action that ran into the token limit earns nothing, whatever its beginning says."""
    if sampled.finish_reason == "length":
        return Verdict(0.0, "over_long")
    return verifier(parse_completion(sampled.text), candidate.expected, candidate.tools)
