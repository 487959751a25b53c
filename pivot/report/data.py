"""What a report shows: plain values, read by the caller from the files that a run writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MinedCandidate:
    """One profiled candidate.

    Attributes:
        candidate_id: content hash of history, tools and action.
        trajectory_id: the trajectory it was cut from.
        turn: index of the assistant turn in its trajectory, from 0.
        turns: assistant turns of that trajectory.
        kind: of the expert action: "message" or "call".
        rewards: one a rollout, in [0, 1].
        mean: of the rewards.
        variance: population variance of the rewards; exactly 0 when they are equal.
        selected: it is a pivot.
    """

    candidate_id: str
    trajectory_id: str
    turn: int
    turns: int
    kind: str
    rewards: tuple[float, ...]
    mean: float
    variance: float
    selected: bool

    @property
    def outcome(self) -> str:
        """ "mixed" when rewards differ, else "all0" or "all1" (equal partial rewards: by the nearer end)."""
        if self.variance > 0:
            return "mixed"
        return "all1" if self.mean > 0.5 else "all0"


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Successes of the base and the trained policy on the tasks of one seed."""

    seed: int
    base_successes: int
    base_n: int
    trained_successes: int
    trained_n: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation over several seeds, such as "episodes (in-domain)"."""

    name: str
    seeds: tuple[SeedResult, ...]

    @property
    def base(self) -> tuple[int, int]:
        """Successes and trials of the base policy over all seeds."""
        return sum(seed.base_successes for seed in self.seeds), sum(seed.base_n for seed in self.seeds)

    @property
    def trained(self) -> tuple[int, int]:
        """Successes and trials of the trained policy over all seeds."""
        return sum(seed.trained_successes for seed in self.seeds), sum(seed.trained_n for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class ExampleSample:
    """One rollout of an example pivot, with its verdict; no reward where there was no verdict."""

    text: str
    reward: float | None
    reason: str

    @property
    def right(self) -> bool:
        """Whether it earned more than half."""
        return self.reward is not None and self.reward > 0.5


@dataclass(frozen=True, slots=True)
class Example:
    """A pivot as people look at it. All text is untrusted and shown as text."""

    candidate_id: str
    turn: int
    turns: int
    prompt_tail: str
    expert: str
    samples: tuple[ExampleSample, ...]


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything on the page; an empty part leaves a sentence that says so.

    Attributes:
        title: of the page.
        summary: the run's `summary.json`.
        candidates: every profiled candidate.
        metrics: one mapping a training step with `step` and what was logged (`pivot.report.metrics`).
        evaluations: base against trained.
        examples: a few pivots.
    """

    title: str
    summary: Mapping[str, object] = field(default_factory=dict)
    candidates: Sequence[MinedCandidate] = ()
    metrics: Sequence[Mapping[str, float]] = ()
    evaluations: Sequence[Evaluation] = ()
    examples: Sequence[Example] = ()
