"""`pivot convert`: trajectory files to candidate rows, with every assistant turn accounted for."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write
from pivot.trajectory.cut import candidates
from pivot.trajectory.detect import FORMATS, Format, detect, format_named
from pivot.trajectory.messages import BadRecord, read_tools
from pivot.trajectory.records import BadRow, Record, read_records
from pivot.trajectory.rows import to_row
from pivot.trajectory.split import is_validation
from pivot.trajectory.strict_json import BadJson, decode
from pivot.trajectory.types import Skip, Tool, Trajectory

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class ConvertReport:
    """What became of every record and turn; `turns == candidates + sum(skipped.values())`.

    Attributes:
        inputs: The files read.
        records: Records seen: trajectories + bad_rows + dropped.
        trajectories: Trajectories kept.
        turns: Assistant turns of the kept trajectories.
        candidates: Turns written to `candidates.jsonl` and `validation.jsonl`.
        validation: Those of them in `validation.jsonl`.
        kinds: Candidates by kind of expert action.
        skipped: Turns that are no candidate, by reason.
        bad_rows: Records that could not be read at all, by reason.
        dropped: Readable trajectories left out by `only_successful`, by reason.
    """

    inputs: list[str]
    records: int = 0
    trajectories: int = 0
    turns: int = 0
    candidates: int = 0
    validation: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    bad_rows: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in `report.json`."""
        return {
            "inputs": self.inputs,
            "records": self.records,
            "trajectories": self.trajectories,
            "turns": self.turns,
            "candidates": self.candidates,
            "validation": self.validation,
            "kinds": dict(self.kinds),
            "skipped": dict(self.skipped),
            "bad_rows": dict(self.bad_rows),
            "dropped": dict(self.dropped),
        }


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str
    source: str
    detail: str = ""


def _read_tools_file(path: Path) -> tuple[Tool, ...]:
    try:
        tools = read_tools(decode(path.read_text(encoding="utf-8")))
    except (BadRecord, BadJson, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON list of function tools ({error}); fix --tools") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fix --tools") from None
    return tools


def _read(record: Record, form: Format | None, tools: tuple[Tool, ...]) -> Trajectory | _Unreadable:
    reader = form or detect(record.value)
    if reader is None:
        known = ", ".join(form.name for form in FORMATS)
        return _Unreadable("unknown_format", record.source, f"its keys fit no known format ({known})")
    try:
        trajectory = reader.read(record.value, record.source, tools)
    except BadRecord as error:
        return _Unreadable(error.reason, record.source, error.detail)
    if not any(message["role"] == "assistant" for message in trajectory.messages):
        return _Unreadable("no_assistant_turn", record.source, "there is no expert action in it")
    return trajectory


def _trajectories(
    inputs: Sequence[Path], form: Format | None, tools: tuple[Tool, ...]
) -> Iterator[Trajectory | _Unreadable]:
    for path in inputs:
        seen = False
        for record in read_records(path):
            seen = True
            if isinstance(record, BadRow):
                yield _Unreadable(record.reason, record.source, "the line is no JSON object that can be used")
            else:
                yield _read(record, form, tools)
        if not seen:
            yield _Unreadable("empty_file", f"{path}:1", "the file holds no record")


class _Writer:
    """Cuts trajectories, writes rows and skips, and keeps the report."""

    def __init__(self, report: ConvertReport, rows: TextIO, held_out: TextIO, skips: TextIO, fraction: float) -> None:
        self._report = report
        self._rows = rows
        self._held_out = held_out
        self._skips = skips
        self._fraction = fraction
        self._ids: set[str] = set()

    def _note(self, source: str, reason: str, turn: int | None, detail: str = "") -> None:
        record = {"source": source, "reason": reason, "turn": turn, "detail": detail}
        self._skips.write(json.dumps(record, ensure_ascii=True) + "\n")

    def bad_row(self, row: _Unreadable) -> None:
        self._report.bad_rows[row.reason] += 1
        self._note(row.source, row.reason, None, row.detail)

    def drop(self, trajectory: Trajectory) -> None:
        reason = "success_unknown" if trajectory.success is None else "not_successful"
        self._report.dropped[reason] += 1
        self._note(trajectory.source, reason, None)

    def _skip(self, skip: Skip) -> None:
        self._report.skipped[skip.reason] += 1
        self._note(skip.source, skip.reason, skip.turn)

    def add(self, trajectory: Trajectory) -> None:
        report = self._report
        report.trajectories += 1
        held_out = is_validation(trajectory.trajectory_id, self._fraction)
        for item in candidates(trajectory):
            report.turns += 1
            if isinstance(item, Skip):
                self._skip(item)
            elif item.candidate_id in self._ids:
                self._skip(Skip("duplicate", item.source, item.turn))
            else:
                self._ids.add(item.candidate_id)
                report.candidates += 1
                report.kinds[item.expected.kind] += 1
                report.validation += held_out
                file = self._held_out if held_out else self._rows
                file.write(json.dumps(to_row(item), ensure_ascii=False) + "\n")


def _run(
    found: Iterator[Trajectory | _Unreadable],
    writer: _Writer,
    report: ConvertReport,
    *,
    only_successful: bool,
    strict: bool,
    progress: Progress | None,
) -> _Unreadable | None:
    """Feed the writer; returns the first unreadable record."""
    first_bad: _Unreadable | None = None
    for item in found:
        report.records += 1
        if isinstance(item, _Unreadable):
            if strict:
                raise UserError(f"{item.source}: {item.reason}: {item.detail}; fix the record or leave out --strict")
            first_bad = first_bad or item
            writer.bad_row(item)
        elif only_successful and item.success is not True:
            writer.drop(item)
        else:
            writer.add(item)
        if progress is not None:
            progress(report.trajectories, report.candidates)
    return first_bad


def convert(
    inputs: Sequence[Path],
    out_dir: Path,
    *,
    tools_path: Path | None = None,
    fmt: str | None = None,
    only_successful: bool = False,
    strict: bool = False,
    validation: float = 0.0,
    progress: Progress | None = None,
) -> ConvertReport:
    """Convert trajectory files to single-step rows.

    Writes `out_dir/candidates.jsonl`, `validation.jsonl` (those of held-out trajectories, if any are wanted),
    `skipped.jsonl` (one line a skipped turn or unreadable record, with its `file:line`) and `report.json`, each whole
    or not at all.

    Args:
        inputs: Files; the same candidate in two of them is written once.
        out_dir: Made when missing.
        tools_path: JSON list of tools for trajectories that carry none.
        fmt: Name of a format; None detects it record by record.
        only_successful: Leave out trajectories that failed, or that do not say.
        strict: Stop at the first record that cannot be read.
        validation: Share of the trajectories, chosen by their hash, to hold out whole.
        progress: Called after every record with (trajectories, candidates) so far.

    Returns:
        The counts, as in `report.json`.

    Raises:
        UserError: A missing file, an unwritable folder, an unknown format, no trajectory at all, or with
        `strict` the
            first bad record.
    """
    form = format_named(fmt) if fmt is not None else None
    tools = _read_tools_file(tools_path) if tools_path is not None else ()
    report = ConvertReport(inputs=[str(path) for path in inputs])
    missing = [path for path in inputs if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]}: no such file; check the path")
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            rows = files.enter_context(atomic_write(out_dir / "candidates.jsonl"))
            writer = _Writer(
                report,
                rows=rows,
                held_out=files.enter_context(atomic_write(out_dir / "validation.jsonl")) if validation else rows,
                skips=files.enter_context(atomic_write(out_dir / "skipped.jsonl")),
                fraction=validation,
            )
            found = _trajectories(inputs, form, tools)
            first_bad = _run(found, writer, report, only_successful=only_successful, strict=strict, progress=progress)
            _check_not_empty(report, first_bad)
        with atomic_write(out_dir / "report.json") as file:
            file.write(json.dumps(report.to_json(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out_dir}: cannot be written ({error.strerror}); choose another --out") from None
    return report


def _check_not_empty(report: ConvertReport, first_bad: _Unreadable | None) -> None:
    if report.trajectories:
        return
    if first_bad is not None:
        raise UserError(
            f"{first_bad.source}: {first_bad.reason}: {first_bad.detail}; no trajectory could be read, "
            f"give OpenAI-chat JSONL or tau-bench results"
        )
    if report.dropped:
        raise UserError("no trajectory is marked successful; leave out --only-successful")
    raise UserError("no input file given")
