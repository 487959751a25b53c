"""Closing tables on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pivot.report.evaluations import DOMAINS, evaluations
from pivot.report.rates import percent, rate_row
from pivot.report.svg import number


def print_evaluation(results: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """A row for every model and domain over all seeds, with the gain over the first model.

    Args:
        results: rows of `evaluation.json`, see `evaluations`.
        console: where to; standard output when None.
    """
    models = list(dict.fromkeys(row["model"] for row in results))
    table = Table(title="evaluation", title_justify="left")
    for column in ("", "rate (95 % interval), counts", f"gain over {escape(models[0])}, points"):
        table.add_column(column)
    for index, title in enumerate(DOMAINS.values()):
        table.add_section()
        table.add_row(title)
        for model in models:
            row = rate_row(model, evaluations(results, models[0], model)[index])
            table.add_row(f"  {escape(model)}", row.trained, "" if model == models[0] else row.gain)
    (console or Console()).print(table)


def print_summary(summary: Mapping[str, Any], console: Console | None = None) -> None:
    """The closing table of a run.

    Args:
        summary: `summary.json`: `mine` and `train` numbers, `eval` rates by domain with `n`, `seconds` by phase.
        console: where to; standard output when None.
    """
    table = Table(title="summary", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value")
    mine = summary["mine"]
    for key in ("all0", "mixed", "all1", "selected"):
        if mine["candidates"]:
            table.add_row(f"mined: {key}", percent(mine[key], mine["candidates"]))
    table.add_section()
    for key, value in summary["train"].items():
        table.add_row(f"training: {escape(key)}", number(value))
    for domain, rates in summary["eval"].items():
        table.add_section()
        n = rates["n"]
        for model, rate in rates.items():
            if model not in ("n", "per_seed", "smallest_gain"):
                table.add_row(f"{DOMAINS.get(domain, escape(domain))}: {escape(model)}", percent(round(rate * n), n))
        if "smallest_gain" in rates:
            table.add_row("  smallest gain over the seeds, points", f"{100 * rates['smallest_gain']:+.1f}")
    table.add_section()
    for name, value in summary["seconds"].items():
        table.add_row(f"seconds: {escape(name)}", f"{value:.0f}")
    (console or Console()).print(table)
