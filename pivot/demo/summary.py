"""From what the demo's phases left on disk to `summary.json`, the report page and the closing table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.report.metrics import read_metrics
from pivot.trajectory.atomic import atomic_write

ENDS = 5
"""Steps averaged for `reward_first` and `reward_last`: one step's mean of 16 groups is too noisy."""


def report(out: Path) -> None:
    """Write `summary.json` and `report/index.html` into a demo's directory and print the summary.

    Raises:
        UserError: a phase of the demo has not finished.
    """
    from pivot.demo.page import page
    from pivot.report import print_summary, write_report

    summary = summarise(out)
    with atomic_write(out / "summary.json") as file:
        file.write(json.dumps(summary, indent=2) + "\n")
    write_report(out / "report", page(out, summary))
    print_summary(summary)
    print(f"{out / 'summary.json'}  {out / 'report/index.html'}", flush=True)


def summarise(out: Path) -> dict[str, Any]:
    """The summary of a finished demo.

    Raises:
        UserError: a file of a phase is missing.
    """
    seconds = read(out / "seconds.json")
    steps = [row for row in read_metrics(out / "train" / "logs") if "reward_mean" in row]
    if not steps:
        raise UserError(f"{out}: no training metrics here; run `pivot demo --out {out}` to its end")
    rewards = [row["reward_mean"] for row in steps]
    return {
        "mine": read(out / "mine" / "mine.json"),
        "train": {
            "steps": len(steps),
            "reward_first": mean(rewards[:ENDS]),
            "reward_last": mean(rewards[-ENDS:]),
            "logprob_gap_max": max(max(row.get("logprob_gap_max", 0), row.get("probe_gap_max", 0)) for row in steps),
            "generate_and_train_share": share(steps, "generate", "train"),
        },
        "eval": evaluation(read(out / "evaluation.json")),
        "seconds": seconds | {"total": round(sum(seconds.values()), 1)},
    }


def evaluation(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Success rates by domain and model over all seeds, with each seed's rate.

    Args:
        results: rows of `evaluation.json`: model, seed, in_domain and ood counts.
    """
    domains: dict[str, Any] = {}
    for domain in ("in_domain", "ood"):
        by_model: dict[str, list[dict[str, Any]]] = {}
        for row in results:
            by_model.setdefault(row["model"], []).append(row[domain])
        pooled = {
            name: sum(row["successes"] for row in rows) / sum(row["n"] for row in rows)
            for name, rows in by_model.items()
        }
        per_seed = {name: [row["successes"] / row["n"] for row in rows] for name, rows in by_model.items()}
        domains[domain] = pooled | {
            "n": sum(row["n"] for row in next(iter(by_model.values()))),
            "per_seed": per_seed,
            "smallest_gain": min(b - a for a, b in zip(per_seed["base"], per_seed["pivotrl"], strict=True)),
        }
    return domains


def share(steps: Sequence[Mapping[str, float]], *phases: str) -> float:
    """What part of the seconds of all steps some phases took."""
    everything = sum(value for row in steps for name, value in row.items() if name.startswith("seconds/"))
    return sum(row[f"seconds/{phase}"] for row in steps for phase in phases) / everything


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def read(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"{path}: not there; run `pivot demo --out {path.parent}` to its end first")
    return json.loads(path.read_text())
