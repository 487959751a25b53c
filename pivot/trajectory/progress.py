"""What `pivot convert` shows while it reads, and its closing table."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pivot.trajectory.convert import ConvertReport


class ConvertProgress:
    """Trajectories and candidates so far; silent where the output is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            SpinnerColumn(), TextColumn("converting  {task.description}"), TimeElapsedColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "ConvertProgress":
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def update(self, trajectories: int, candidates: int) -> None:
        """Called after every record."""
        self._bar.update(self._task, description=f"{trajectories} trajectories, {candidates} candidates")


def closing_table(report: ConvertReport, out_dir: Path) -> Table:
    """The counts of `report.json`, a line a reason."""
    table = Table(title="Convert", show_header=False)
    table.add_row("trajectories", str(report.trajectories))
    table.add_row("assistant turns", str(report.turns))
    table.add_row("candidates", str(report.candidates))
    if report.validation:
        table.add_row("  held out for validation", str(report.validation))
    for reason, count in sorted(report.skipped.items()):
        table.add_row(f"turns skipped: {reason}", str(count))
    for reason, count in sorted(report.bad_rows.items()):
        table.add_row(f"rows unreadable: {reason}", str(count))
    table.add_row("written to", str(out_dir / "candidates.jsonl"))
    return table
