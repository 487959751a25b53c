"""Verifiers made of verifiers.

first     The first decided verdict. An error is final: a weaker verifier never stands in for an unreachable judge.
          Where nobody decides, the last one asked counts.
all       Everyone who decides must agree: the lowest reward, found in order, so a decided 0 or an error ends it.
weighted  The mean of the decided rewards by weight; an error of one is an error of all.

In `all` and `weighted` an undecided verdict has no say, unless there is no other.
"""

from collections.abc import Sequence
from dataclasses import replace

from pivot.trajectory.types import Action
from pivot.verify.types import DECIDED, ERROR, UNDECIDED, Context, Decide, Verdict, Verifier


def first(members: Sequence[Verifier]) -> Decide:
    """The first decisive verdict."""

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        verdict = members[0](actual, expected, context)
        for member in members[1:]:
            if verdict.status != UNDECIDED:
                break
            verdict = member(actual, expected, context)
        return verdict

    return decide


def every(members: Sequence[Verifier]) -> Decide:
    """All must pass."""

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        verdicts: list[Verdict] = []
        for member in members:
            verdicts.append(member(actual, expected, context))
            if verdicts[-1].status == ERROR or (verdicts[-1].status == DECIDED and verdicts[-1].reward == 0.0):
                return verdicts[-1]
        voices = [verdict for verdict in verdicts if verdict.status == DECIDED] or verdicts[-1:]
        return replace(min(voices, key=lambda verdict: verdict.reward), used=_used(voices))

    return decide


def weighted(members: Sequence[Verifier], weights: Sequence[float]) -> Decide:
    """The weighted mean; the reason is that of the verdict which costs most."""

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        verdicts = [member(actual, expected, context) for member in members]
        failed = next((verdict for verdict in verdicts if verdict.status == ERROR), None)
        if failed is not None:
            return failed
        voices = [pair for pair in zip(weights, verdicts, strict=True) if pair[1].status == DECIDED]
        if not voices:
            return verdicts[-1]
        cost, total = sum(weight * (1.0 - verdict.reward) for weight, verdict in voices), sum(w for w, _ in voices)
        worst = max(voices, key=lambda pair: pair[0] * (1.0 - pair[1].reward))[1]
        return replace(worst, reward=max(0.0, 1.0 - cost / total), used=_used([verdict for _, verdict in voices]))

    return decide


def _used(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    return tuple(sorted({switch for verdict in verdicts for switch in verdict.used}))
