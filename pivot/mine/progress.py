"""Progress of mining over all ranks, and its closing table."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from pivot.mine.results import Prefill, Selected
from pivot.mine.select import ALL0, ALL1, MIXED, NO_VERDICT
from pivot.mine.store import SHARDS, decode_line
from pivot.mine.turns import Encoded

KINDS = {ALL0: "all-0", MIXED: "mixed", ALL1: "all-1"}


def split_text(counts: Counter[str]) -> str:
    """`all-0 31% mixed 45% all-1 24%` of the classes counted so far."""
    total = max(1, sum(counts.values()))
    return "  ".join(f"{name} {counts[kind] / total:.0%}" for kind, name in KINDS.items())


class Follow:
    """Counts the classes of the profiles in a store as every rank appends them: reads each shard on from last time."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._read: dict[Path, int] = {}
        self.counts: Counter[str] = Counter()

    def poll(self) -> Counter[str]:
        """Classes of all whole records so far."""
        for path in sorted(self._store.glob(SHARDS)):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    stored = decode_line(line)
                    if stored is None:  # a write in flight: read it next time
                        break
                    self.counts[stored.profile().kind] += 1
                    self._read[path] = self._read.get(path, 0) + len(line)
        return self.counts


class MiningProgress:
    """A bar with candidates/s and the running split over all ranks; without a terminal, a line every tenth."""

    def __init__(self, total: int, store: Path, console: Console) -> None:
        self._console = console
        self._follow = Follow(store)
        self._begun_with = self._printed = self._follow.poll().total()
        self._start = time.perf_counter()
        self._total = total
        self._bar = Progress(
            TextColumn("mining"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=console, disable=console.quiet or not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total, completed=self._begun_with, said="")

    def __enter__(self) -> "MiningProgress":
        self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._bar.stop()

    def update(self) -> None:
        """Show what is on disk now."""
        counts = self._follow.poll()
        done = counts.total()
        rate = (done - self._begun_with) / (time.perf_counter() - self._start)
        said = f"{rate:.1f}/s  {split_text(counts)}"
        self._bar.update(self._task, completed=done, said=said)
        new = done - self._printed
        if not self._console.is_terminal and (new >= self._total / 10 or (new > 0 and done >= self._total)):
            self._printed = done
            self._console.print(f"mining {done}/{self._total}  {said}")


def closing_table(selected: Selected, encoded: Encoded, prefill: Prefill | None, out: Path) -> Table:
    """What was profiled, kept and cut, why samples lost their reward, and what their prompts cost."""
    table = Table(title="Mining", show_header=False)
    profiles = selected.profiles
    counts = Counter(profile.kind for profile in profiles)
    total = max(1, len(profiles))
    table.add_row("candidates profiled", str(len(profiles)))
    for kind, name in KINDS.items():
        table.add_row(f"  {name}", f"{counts[kind]} ({counts[kind] / total:.0%})")
    if errors := sum(profile.errors for profile in profiles):
        table.add_row(
            "samples without verdict", f"{errors} (candidates left with fewer than two: {counts[NO_VERDICT]})"
        )
    for reason, count in sorted(encoded.skipped.items()):
        table.add_row(f"skipped: {reason}", str(count))
    for note, count in sorted(encoded.notes.items()):
        table.add_row(f"prompts: {note}", str(count))
    table.add_row("mean reward", f"{sum(profile.mean for profile in profiles) / total:.3f}")
    table.add_row("pivots kept", f"{len(selected.kept)} ({len(selected.kept) / total:.0%})")
    for reason, count in sorted(selected.cuts.items()):
        table.add_row(f"  cut: {reason}", str(count))
    reasons = Counter[str]()
    for profile in profiles:
        reasons.update({reason.split(":")[0]: count for reason, count in profile.reasons.items()})
    samples = max(1, sum(reasons.values()))
    for reason, count in reasons.most_common(6):
        table.add_row(f"verdict {escape(reason)}", f"{count} ({count / samples:.0%})")
    if prefill is not None:
        cost = f"{prefill.computed:,} computed / {prefill.distinct:,} distinct = {prefill.ratio:.2f}"
        table.add_row("prompt tokens of this run", cost)
    table.add_row("written to", escape(str(out)))
    return table
