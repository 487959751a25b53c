"""The demo's files as the report page wants them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivot.mine.store import StoredProfile, merged
from pivot.prompt import render_action
from pivot.report import Example, ExampleSample, MinedCandidate, ReportData
from pivot.report.evaluations import evaluations
from pivot.report.metrics import read_metrics
from pivot.trajectory import Candidate
from pivot.trajectory.rows import load_candidates

EXAMPLES = 6
TAIL_MESSAGES = 4


def page(out: Path, summary: Mapping[str, Any]) -> ReportData:
    """Everything on the page of a finished demo."""
    candidates = {item.candidate_id: item for item in load_candidates(out / "data/train/candidates.jsonl")}
    profiles = list(merged(out / "mine", list(candidates)))
    pivots = {item.candidate_id for item in load_candidates(out / "pivots.jsonl")}
    return ReportData(
        title=f"PivotRL: {out.name}",
        summary=summary,
        candidates=[mined(candidates[stored.candidate_id], stored, pivots) for stored in profiles],
        metrics=read_metrics(out / "train" / "logs"),
        evaluations=evaluations(json.loads((out / "evaluation.json").read_text()), "base", "pivotrl"),
        examples=examples(candidates, [stored for stored in profiles if stored.candidate_id in pivots]),
    )


def mined(candidate: Candidate, stored: StoredProfile, pivots: set[str]) -> MinedCandidate:
    profile = stored.profile()
    return MinedCandidate(
        candidate_id=candidate.candidate_id,
        trajectory_id=candidate.trajectory_id,
        turn=candidate.turn,
        turns=candidate.turns,
        kind="message" if candidate.expected.kind == "message" else "call",
        rewards=profile.rewards,
        mean=profile.mean,
        variance=profile.variance,
        selected=candidate.candidate_id in pivots,
    )


def examples(candidates: Mapping[str, Candidate], pivots: Sequence[StoredProfile]) -> list[Example]:
    """A few pivots, spread over the file, with the end of their history."""
    step = max(1, len(pivots) // EXAMPLES)
    return [
        Example(
            candidate_id=stored.candidate_id,
            turn=candidate.turn,
            turns=candidate.turns,
            prompt_tail="\n".join(spoken(message) for message in candidate.messages[-TAIL_MESSAGES:]),
            expert=render_action(candidate.expected),
            samples=tuple(ExampleSample(sample.text, sample.reward, sample.reason) for sample in stored.samples),
        )
        for stored in pivots[::step][:EXAMPLES]
        if (candidate := candidates[stored.candidate_id])
    ]


def spoken(message: Mapping[str, Any]) -> str:
    """One message as a line of a transcript."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    said = [message.get("content") or "", *(f"{call['name']}({call['arguments']})" for call in calls)]
    return f"{message['role']}: {' '.join(text for text in said if text)}"
