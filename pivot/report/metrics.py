"""Read back what a training run logged."""

import csv
from pathlib import Path


def read_metrics(log_dir: Path) -> list[dict[str, float]]:
    """Every step's metrics over all attempts of a run, in step order.

    A step that was done again after a resume counts once, as it was done last. The CSV logger writes training and
    validation values of one step as separate rows; they are merged.

    Args:
        log_dir: the run's `logs` directory, with `csv/attempt_<n>/metrics.csv` below.

    Returns:
        One mapping a step, `step` included.
    """
    by_step: dict[int, dict[str, float]] = {}
    attempts = sorted(log_dir.glob("csv/attempt_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1]))
    for path in attempts:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                values = {name: float(text) for name, text in row.items() if text and name not in ("step", "epoch")}
                by_step.setdefault(int(row["step"]), {}).update(values)
    return [{"step": float(step), **values} for step, values in sorted(by_step.items())]
