"""`pivot launch --status`: what became of every attempt of a run."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pivot.attempt.directory import Attempt, Failure
from pivot.errors import UserError


@dataclass(frozen=True, slots=True)
class Row:
    """An attempt in a table; None where nothing is known.

    Attributes:
        number: Of the attempt.
        job: Slurm's number, with the restart; `local` on one machine.
        nodes: Names.
        started: In seconds since the epoch, as `ended` is.
        ended: None: it runs, or ended without a word.
        first: Checkpoint step it started from.
        last: Step it got to.
        outcome: `done`, `stopped`, `refused`, `crashed`, `node fault`, `gave up`, or `running or lost`.
        reason: In a line.
    """

    number: int
    job: str
    nodes: tuple[str, ...]
    started: float | None
    ended: float | None
    first: int | None
    last: int | None
    outcome: str
    reason: str


def rows(run_dir: Path) -> list[Row]:
    """The attempts of a run, oldest first."""
    found = [path for path in run_dir.glob("attempts/*") if path.name.isdecimal() and path.is_dir()]
    return [row(path) for path in sorted(found, key=lambda path: int(path.name))]


def row(directory: Path) -> Row:
    """One attempt, from what the batch script and the ranks have left."""
    attempt = Attempt(directory)
    start, end = read(directory / "attempt.json"), read(directory / "end.json")
    outcome = attempt.outcome()
    failed: Failure | None = next(iter(attempt.failures()), None)
    status = end.get("status") or (outcome.outcome if outcome else "crashed" if failed else "running or lost")
    told = status in ("done", "stopped", "refused") and outcome is not None
    return Row(
        number=int(directory.name),
        job=f"{start['job']}.{start['restart']}" if "job" in start else "local",
        nodes=tuple(start.get("nodes", ())),
        started=start.get("started", directory.stat().st_mtime if not start else None),
        ended=end.get("ended", written(directory / "outcome.json")),
        first=start.get("from_step"),
        last=outcome.step if outcome and outcome.step is not None else end.get("step"),
        outcome=status,
        reason=outcome.reason if told and outcome else str(failed) if failed else end.get("reason", ""),
    )


def read(path: Path) -> dict[str, Any]:
    """A file of the batch script's; empty where it is not there."""
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


def written(path: Path) -> float | None:
    """When a file was written."""
    return path.stat().st_mtime if path.exists() else None


def print_status(run_dir: Path, console: Console | None = None) -> None:
    """A table of the attempts.

    Raises:
        UserError: there are none.
    """
    found = rows(run_dir)
    if not found:
        raise UserError(f"{run_dir}: no attempts here; give the run.dir of a run that was started")
    table = Table(title=str(run_dir), box=box.SIMPLE, padding=(0, 1, 0, 0))
    for name in ("", "job", "nodes", "started", "ended", "from", "to", "outcome", "reason"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("nodes", "reason"))
    for each in found:
        table.add_row(
            str(each.number), each.job, named(each.nodes), clock(each.started), clock(each.ended, each.started),
            shown(each.first), shown(each.last), each.outcome, each.reason,
        )  # fmt: skip
    (console or Console()).print(table)


def named(nodes: tuple[str, ...]) -> str:
    """A few names, or how many."""
    return ",".join(nodes) if len(nodes) <= 4 else f"{nodes[0]} and {len(nodes) - 1} others"


def clock(seconds: float | None, since: float | None = None) -> str:
    """A time; without its day where that is the day of `since`."""
    if seconds is None:
        return "-"
    day, hour = (time.strftime(form, time.localtime(seconds)) for form in ("%m-%d", "%H:%M:%S"))
    return hour if since and time.strftime("%m-%d", time.localtime(since)) == day else f"{day} {hour}"


def shown(step: int | None) -> str:
    return "-" if step is None else str(step)
