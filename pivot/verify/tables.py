"""What `pivot verify` prints."""

from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pivot.config import load
from pivot.errors import UserError
from pivot.verify.build import build_verifiers
from pivot.verify.stored import Tally, parse_specs, read_stored, score

_MOST_REASONS = 12


def verify_files(paths: list[Path], specs: list[str], out: Path | None, console: Console) -> None:
    """Score the rollouts of some files, and print a table a verifier.

    Args:
        paths: Files of rollouts.
        specs: Verifiers; none: by domain, as configured.
        out: Where to write the verdicts as JSONL.
        console: Where to print.

    Raises:
        UserError: A file without rollouts, or a verifier that does not exist.
    """
    section = load(None, []).verify
    verifiers = parse_specs(specs) or {"by domain": build_verifiers(section.name, section.domains)}
    tallies, unread = score(read_stored(paths), verifiers, out)
    if not any(tally.reasons for tally in tallies.values()):
        why = ", ".join(f"{reason}: {count}" for reason, count in sorted(unread.items())) or "no row has an action"
        raise UserError(f"{paths[0]}: no rollout to score ({why}); a row needs `response` or `completion`")
    for name, tally in tallies.items():
        console.print(_table(name, tally))
        for source, stored, verdict in tally.disagreements:
            said = f"{source}: stored {stored:g}, now {verdict.reward:g} ({verdict.reason}) {verdict.detail}"
            console.print(escape(said.strip()))
    if unread:
        console.print(_unread(unread))


def _table(name: str, tally: Tally) -> Table:
    table = Table(title=escape(name), show_header=False)
    table.add_row("rollouts", str(tally.scored))
    if tally.scored:
        table.add_row("mean reward", f"{tally.total / tally.scored:.4f}")
    if tally.errors:
        table.add_row("errors, not scored", str(tally.errors))
    if tally.compared:
        table.add_row("same as the stored reward", f"{tally.agreed} of {tally.compared}")
    for reason, count in tally.reasons.most_common(_MOST_REASONS):
        table.add_row(f"  {escape(reason)}", str(count))
    return table


def _unread(unread: Counter[str]) -> Table:
    table = Table(title="not read", show_header=False)
    for reason, count in sorted(unread.items()):
        table.add_row(escape(reason), str(count))
    return table
