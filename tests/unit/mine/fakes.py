"""A policy that answers by seed alone, and candidates for it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from pivot.mine.groups import Scorer, Turn
from pivot.rollout.placement import Placement
from pivot.rollout.replica import Replica
from pivot.rollout.types import Completion, Sampling
from pivot.trajectory import Action, Candidate, Tool, Trajectory, candidates
from pivot.trajectory.messages import read_messages
from pivot.verify import Context, Verdict, Verifier, Verifiers
from pivot.verify.types import ERROR

ANY = Sampling(1.0, 1.0, 8)


def cut(name: str, turns: int) -> list[Candidate]:
    """The candidates of a trajectory."""
    raw = [{"role": "system", "content": "policy"}]
    for turn in range(turns):
        raw += [
            {"role": "user", "content": f"{name} {turn}"},
            {"role": "assistant", "content": f"{name} answer {turn}"},
        ]
    trajectory = Trajectory(name, read_messages(raw), (), "tool_use", None, "f:1")
    return [item for item in candidates(trajectory) if isinstance(item, Candidate)]


def turns(count: int) -> list[Turn]:
    """Turns with prompts of one token."""
    return [Turn(item, (index,)) for index, item in enumerate(c for n in range(count) for c in cut(f"t{n}", 1))]


@dataclass
class FakeEngine:
    """Says `good`, `bad` or `none`, as the seed has it; records what it was asked.

    Attributes:
        share: Of a hundred: seeds that say `good`.
        none: Of a hundred: seeds that say `none`.
    """

    share: int = 50
    none: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)  # (prompts, samples of each)
    replica: Replica = field(default_factory=lambda: Replica(Placement()))

    def sample(
        self, prompts: Sequence[list[int]], seeds: Sequence[int], n: int, sampling: Sampling
    ) -> list[list[Completion]]:
        self.calls.append((len(prompts), n))
        return [[self.say(seed + i) for i in range(n)] for seed in seeds]

    def say(self, seed: int) -> Completion:
        lot = hashlib.sha256(str(seed).encode()).digest()[0] * 100 // 256
        word = "good" if lot < self.share else "none" if lot < self.share + self.none else "bad"
        return Completion((1, 2), (0.0, 0.0), f"{word} {seed}", "stop", "0")


def _decide(actual: Action, expected: Action, context: Context) -> Verdict:
    word = (actual.content or "").split()[0]
    if word == "none":
        return Verdict(0.0, "judge_unreachable", status=ERROR)
    return Verdict(1.0, "match", used=("case",)) if word == "good" else Verdict(0.0, "differs")


def _parse(text: str, tools: Sequence[Tool]) -> Action:
    return Action(text)


SCORER = Scorer(_parse, Verifiers({}, Verifier("fake", _decide, "00")))
