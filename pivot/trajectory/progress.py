"""What `pivot convert` shows while it reads, and its closing table."""

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from pivot.trajectory.inputs import display_name
from pivot.trajectory.report import ConvertReport


class ConvertProgress:
    """Bytes read of the total, trajectories and candidates so far; silent where the output is no terminal.

    Args:
        console: Where to.
        total: Stored bytes of all inputs; None when nobody knows (stdin): then there is no bar.
    """

    def __init__(self, console: Console, total: int | None) -> None:
        sized: list[ProgressColumn] = [BarColumn(), DownloadColumn(), TimeRemainingColumn()] if total else []
        self._bar = Progress(
            SpinnerColumn(), TextColumn("converting  {task.description}"), *sized, TimeElapsedColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> "ConvertProgress":
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def update(self, report: ConvertReport, position: int) -> None:
        """Called after every record."""
        self._bar.update(
            self._task,
            completed=position,
            description=f"{report.trajectories + report.rows:,} trajectories, {report.candidates:,} candidates",
        )


def closing_table(report: ConvertReport, out_dir: Path) -> Table:
    """The counts of `report.json`, a line a reason."""
    table = Table(title="Convert", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a path that is cut short is no use
    table.add_row("trajectories", str(report.trajectories))
    if report.rows:
        table.add_row("rows that were cut already", str(report.rows))
    for name, counts in sorted(report.formats.items()):
        told = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items())
        table.add_row(f"  {name}", told)
    table.add_row("assistant turns", str(report.turns))
    table.add_row("candidates", str(report.candidates))
    if report.validation:
        table.add_row(f"  held out for validation, by {report.split}", str(report.validation))
    if report.without_tools:
        table.add_row("  with calls, but no tools (see --tools)", str(report.without_tools))
    if report.without_task:
        table.add_row("  split by trajectory, for they name no task", str(report.without_task))
    for label, counted in (
        ("turns skipped", report.skipped),
        ("rows unreadable", report.bad_rows),
        ("trajectories dropped", report.dropped),
        ("not in any message", report.left_out),
    ):
        for reason, count in sorted(counted.items()):
            table.add_row(f"{label}: {reason}", str(count))
    table.add_row("written to", Text(display_name(out_dir / "candidates.jsonl")))
    return table
