"""Which checkpoints a run resumes from, keeps and deletes: their names, scores and leftovers on disk."""

import json
import math
import shutil
from pathlib import Path

from pivot import ranks
from pivot.policy import CheckpointError, verify
from pivot.policy.checkpoint_write import delete, sweep

SCORES = "scores.json"


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.name.removeprefix("step-"))


def complete(directory: Path) -> list[Path]:
    """Checkpoints that have their final name, oldest first."""
    found = [path for path in directory.glob("step-*") if path.is_dir() and path.name[5:].isdigit()]
    return sorted(found, key=step_of)


def newest(directory: Path) -> Path | None:
    """The newest checkpoint whose files match their manifest, chosen by rank 0 for all; damaged ones are named."""
    found: Path | None = None
    if ranks.rank() == 0:
        for path in reversed(complete(directory)):
            try:
                verify(path)
            except CheckpointError as error:
                print(f"skipping a damaged checkpoint: {error}", flush=True)
                continue
            found = path
            break
    return ranks.from_first(found)


def resume_point(directory: Path) -> Path | None:
    """`newest`, for a program that is going to write here: clears the way for it, and says what it found.

    Leftovers of killed saves are removed. Damaged checkpoints that are newer are renamed, or they would be counted
    among the newest ones to keep while good ones go.
    """
    if ranks.rank() == 0:
        for name in sweep(directory):
            print(f"removed what a killed save had left: {name}", flush=True)
    found = newest(directory)
    if ranks.rank() == 0:
        skipped = [path for path in complete(directory) if found is None or step_of(path) > step_of(found)]
        for path in skipped:
            aside = path.with_name(path.name + ".damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            print(f"set aside as {aside.name}", flush=True)
        if skipped and found is None:
            print(f"no checkpoint in {directory} is whole: training starts at the beginning", flush=True)
    return found


def prune(directory: Path, keep: int, best: str | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best by a metric, and what killed saves have left.

    For one rank, after a save is whole and while no other is running. Checkpoints that are damaged must have been set
    aside (`resume_point`), so that the newest ones are good.
    """
    sweep(directory)
    spared = best_step(directory, best)
    for path in complete(directory)[:-keep]:
        if step_of(path) != spared:
            delete(path)


def read_scores(directory: Path, metric: str) -> dict[int, float]:
    """Scores of checkpoints by step; none when they are of another metric or can't be read."""
    try:
        written = json.loads((directory / SCORES).read_text())
        return {int(step): float(score) for step, score in written["scores"].items() if written["metric"] == metric}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_score(directory: Path, metric: str, step: int, score: float | None) -> None:
    """Set or, with None, forget the score of a step; those of checkpoints that are gone go as well."""
    before = read_scores(directory, metric)
    steps = {step_of(path) for path in complete(directory)} - {step}
    scores = {known: value for known, value in before.items() if known in steps}
    if score is not None and not math.isnan(score):
        scores[step] = score
    if scores == before:
        return
    temporary = directory / f"{SCORES}.tmp"
    temporary.write_text(json.dumps({"metric": metric, "scores": scores}))
    temporary.replace(directory / SCORES)


def best_step(directory: Path, metric: str | None, being_written: int | None = None) -> int | None:
    """The checkpoint with the best score, of equal ones the newest; None when no checkpoint has a score."""
    steps = {step_of(path) for path in complete(directory)} | {being_written}
    scores = {step: value for step, value in read_scores(directory, metric or "").items() if step in steps}
    sign = -1 if metric and metric.startswith("-") else 1
    return max(scores, key=lambda step: (sign * scores[step], step), default=None)
