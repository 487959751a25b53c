"""What became of every record and turn of a conversion."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ConvertReport:
    """`turns == candidates + sum(skipped)`; `records == trajectories + rows + sum(bad_rows) + sum(dropped)`.

    Attributes:
        inputs: The files read.
        split: What `validation` was split by: `trajectory` or `task`.
        records: Records seen; one that holds several trajectories counts as so many.
        trajectories: Trajectories kept.
        rows: Rows kept that were cut already: one turn each.
        turns: Assistant turns of the kept trajectories, and the kept rows.
        candidates: Turns written to `candidates.jsonl` and `validation.jsonl`.
        validation: Those of them in `validation.jsonl`.
        without_tools: Trajectories and rows with calls, but with no tools on offer.
        without_task: With `split` task: trajectories and rows that name no task.
        kinds: Candidates by kind of expert action.
        domains: Candidates by domain.
        formats: By format: `trajectories`, `rows`, `turns`, `candidates`, `bad_rows`, `dropped`.
        skipped: Turns that are no candidate, by reason.
        bad_rows: Records that could not be read at all, by reason.
        dropped: Readable trajectories left out by `only_successful`, by reason.
        left_out: Parts of kept trajectories that are in no message, by kind.
    """

    inputs: list[str]
    split: str = "trajectory"
    records: int = 0
    trajectories: int = 0
    rows: int = 0
    turns: int = 0
    candidates: int = 0
    validation: int = 0
    without_tools: int = 0
    without_task: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    domains: Counter[str] = field(default_factory=Counter)
    formats: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    skipped: Counter[str] = field(default_factory=Counter)
    bad_rows: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in `report.json`."""
        return {
            "inputs": self.inputs,
            "split": self.split,
            "records": self.records,
            "trajectories": self.trajectories,
            "rows": self.rows,
            "turns": self.turns,
            "candidates": self.candidates,
            "validation": self.validation,
            "without_tools": self.without_tools,
            "without_task": self.without_task,
            "kinds": dict(self.kinds),
            "domains": dict(self.domains),
            "formats": {name: dict(counts) for name, counts in self.formats.items()},
            "skipped": dict(self.skipped),
            "bad_rows": dict(self.bad_rows),
            "dropped": dict(self.dropped),
            "left_out": dict(self.left_out),
        }
