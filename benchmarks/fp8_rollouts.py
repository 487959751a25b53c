"""Training on rollouts of FP8 weights, beside training on rollouts of the policy's own, on the demo.

python -m benchmarks.fp8_rollouts [--variants plain block …] [--seeds 0 1] [--out runs/fp8_rollouts]

The demo's data is made and mined once; then each variant trains with each seed on the same pivots as `pivot demo` does,
and is evaluated as there. What is done is remembered in `--out`, variant by variant, so a killed call goes on, and a
call with other variants adds to the table. Engines on a CPU compute with what the FP8 values stand for. Probes stop no
run here: how far they find engine and policy apart is what is measured. The last line is JSON.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from pivot.demo.run import CHECKPOINT, make_data, paths
from pivot.report.metrics import read_metrics
from pivot.trajectory.atomic import atomic_write

VARIANTS = {
    "plain": [],
    "block": ["swap.fp8=block"],
    "block, not corrected": ["swap.fp8=block", "grpo.mismatch=none"],
    "block, router replay": ["swap.fp8=block", "grpo.router_replay=true"],
    "mxfp8": ["swap.fp8=mxfp8"],
}
ENDS = 5
"""Steps averaged for the rewards at the start and at the end."""


def pivot(*arguments: str) -> None:
    """Run the command line as a user would."""
    subprocess.run([sys.executable, "-m", "pivot.cli", *arguments], check=True)


def prepare(out: Path) -> None:
    """The demo's data and pivots, and how the model does that training starts from."""
    if not (out / "data/validation").is_dir():
        make_data(out)
    if not (out / "pivots.jsonl").is_file():
        pivot("mine", "--config", "demo", *paths(out))
    if not (out / "evaluation.json").is_file():
        evaluate(CHECKPOINT, "base", out / "evaluation.json")


def evaluate(model: Path, name: str, out: Path) -> None:
    where = f"run.dir={out.parent}", f"evaluate.out={out}"
    pivot("evaluate", "--config", "demo", f"evaluate.models.{name}={model}", *where)


def run(out: Path, variant: str, seed: int) -> Path:
    """Train and evaluate one variant with one seed, as far as that has not been done; returns its directory."""
    directory = out / f"{variant.replace(', ', '-').replace(' ', '-')}-seed{seed}"
    if not (directory / "evaluation.json").is_file():
        changes = [*VARIANTS[variant], f"run.dir={directory}", f"run.seed={seed}", "train.probe_mean_limit=100"]
        if not (directory / "hf/config.json").is_file():
            pivot("train", "--config", "demo", *paths(out), *changes)
        evaluate(directory / "hf", "trained", directory / "evaluation.json")
    return directory


def rates(path: Path) -> dict[str, float]:
    """Success rates over all seeds of an evaluation."""
    rows = json.loads(path.read_text())
    return {
        domain: sum(row[domain]["successes"] for row in rows) / sum(row[domain]["n"] for row in rows)
        for domain in ("in_domain", "ood")
    }


def figures(directory: Path) -> dict[str, Any]:
    """What one run's logs and evaluation say."""
    rows = read_metrics(directory / "logs")
    steps = [row for row in rows if "reward_mean" in row]
    trained = [row for row in steps if "logprob_gap_mean" in row]
    held_out = [row["validation/reward_mean"] for row in rows if "validation/reward_mean" in row]
    rewards = [row["reward_mean"] for row in steps]
    probes = sorted(row["probe_gap_max"] for row in steps)
    found = {
        "steps": len(steps),
        "reward_first": fmean(rewards[:ENDS]),
        "reward_last": fmean(rewards[-ENDS:]),
        "rewards": [round(fmean(rewards[i : i + ENDS]), 3) for i in range(0, len(rewards), ENDS)],
        "validation_last": held_out[-1],
        "gap_mean": fmean(row["logprob_gap_mean"] for row in trained),
        "gap_max": max(row["logprob_gap_max"] for row in trained),
        "kl": fmean(row["mismatch_kl"] for row in trained),
        "kl_last": fmean(row["mismatch_kl"] for row in trained[-ENDS:]),
        "ratio_above_2": fmean(row["ratio_above_2"] for row in trained),
        "ratio_below_half": fmean(row["ratio_below_half"] for row in trained),
        "probe_median": quantiles(probes, n=2)[0],
        "probe_p90": quantiles(probes, n=10)[-1],
        "probe_max": probes[-1],
        "probe_mean_median": quantiles([row["probe_gap_mean"] for row in steps], n=2)[0],
        "probe_mean_max": max(row["probe_gap_mean"] for row in steps),
        "wire_ratio": fmean(row["swap/wire_ratio"] for row in steps),
    }
    return found | rates(directory / "evaluation.json")


def table(rows: Sequence[dict[str, Any]], base: dict[str, float]) -> Table:
    shown = Table(
        "variant", "seed", "reward first", "last", "held out", "episodes", "questions", "gap mean", "max", "KL",
        "w > 2", "w < 1/2", "probe: median", "90 %", "max", title="Rollouts of FP8 weights",
    )  # fmt: skip
    shown.add_row("base", "", "", "", "", f"{base['in_domain']:.1%}", f"{base['ood']:.1%}", *[""] * 8)
    for row in rows:
        shown.add_row(
            row["variant"], str(row["seed"]), *(f"{row[name]:.3f}" for name in ("reward_first", "reward_last",
            "validation_last")), f"{row['in_domain']:.1%}", f"{row['ood']:.1%}",
            *(f"{row[name]:.1e}" for name in ("gap_mean", "gap_max", "kl", "ratio_above_2", "ratio_below_half",
            "probe_median", "probe_p90", "probe_max")),
        )  # fmt: skip
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="*", default=[*VARIANTS], choices=[*VARIANTS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, default=Path("runs/fp8_rollouts"))
    asked = parser.parse_args()
    prepare(asked.out)
    for seed in asked.seeds:
        for variant in asked.variants:
            directory = run(asked.out, variant, seed)
            with atomic_write(directory / "row.json") as file:
                file.write(json.dumps({"variant": variant, "seed": seed, **figures(directory)}) + "\n")
    order = [*VARIANTS]
    rows = [json.loads(path.read_text()) for path in asked.out.glob("*/row.json")]
    rows.sort(key=lambda row: (order.index(row["variant"]), row["seed"]))
    base = rates(asked.out / "evaluation.json")
    Console(width=180).print(table(rows, base))
    print(json.dumps({"benchmark": "fp8_rollouts", "base": base, "rows": rows}))


if __name__ == "__main__":
    main()
