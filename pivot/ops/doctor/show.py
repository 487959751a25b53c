"""The table for people and the JSON for programs."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pivot.ops.doctor.row import Row, Status, fit

SCHEMA = 1
WORDS = {Status.GREEN: "[green]ok[/]", Status.GREY: "[dim]n/a[/]", Status.YELLOW: "[yellow]warn[/]",
         Status.RED: "[bold red]FAIL[/]"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """What a doctor has to say of one node.

    Attributes:
        node: its name.
        program: that is to run.
        rows: the findings.
        seconds: it took.
    """

    node: str
    program: str
    rows: Sequence[Row]
    seconds: float

    @property
    def fit(self) -> bool:
        return fit(list(self.rows))


def as_json(report: Report) -> str:
    """One object, with the same keys in every release of the same `schema`."""
    counts = Counter(row.status.value for row in report.rows)
    value: dict[str, Any] = {
        "schema": SCHEMA,
        "node": report.node,
        "program": report.program,
        "fit": report.fit,
        "counts": {status.value: counts[status.value] for status in Status},
        "seconds": round(report.seconds, 1),
        "rows": [{**asdict(row), "status": row.status.value} for row in report.rows],
    }
    return json.dumps(value, indent=2, ensure_ascii=False)


def print_table(report: Report, console: Console) -> None:
    """All rows by area; the fix of what is red or yellow below what was found."""
    table = Table(title=f"{report.node}: pivot {report.program}", title_justify="left")
    for column in ("check", "", "found, and what to do"):
        table.add_column(column, overflow="fold")
    area = ""
    for row in report.rows:
        if area and row.area != area:
            table.add_section()
        area = row.area
        text = escape(row.found)
        if row.fix:
            text += f"\n[bold]-> {escape(row.fix)}[/]"
        if row.source:
            text += f" [dim]({escape(row.source)})[/]"
        table.add_row(escape(row.name), WORDS[row.status], text)
    console.print(table)
    counts = Counter(row.status for row in report.rows)
    said = ", ".join(f"{counts[status]} {status.value}" for status in Status)
    verdict = "[green]fit[/]" if report.fit else "[bold red]not fit[/]"
    console.print(f"{verdict}: {said}; {report.seconds:.0f} s")
