"""`pivot convert`: trajectory files to candidate rows, with every assistant turn accounted for."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO, TypeAlias

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write, remove_leftovers
from pivot.trajectory.cut import candidates
from pivot.trajectory.detect import FORMATS, Format, detect, format_named
from pivot.trajectory.digests import DigestSet
from pivot.trajectory.inputs import display_name, expand
from pivot.trajectory.messages import BadRecord, read_tools
from pivot.trajectory.records import WHAT_TO_DO, BadRow, Record, read_records
from pivot.trajectory.report import ConvertReport
from pivot.trajectory.rows import to_row
from pivot.trajectory.split import Sides
from pivot.trajectory.strict_json import BadJson, decode
from pivot.trajectory.types import Candidate, Skip, Tool, Trajectory

Progress = Callable[[ConvertReport, int], None]

UNKNOWN = "unknown"
ROWS, HELD_OUT, SKIPS, REPORT = OUTPUTS = ("candidates.jsonl", "validation.jsonl", "skipped.jsonl", "report.json")


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str
    source: str
    detail: str = ""
    form: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class _Read:
    """A trajectory, or a row that was cut already, with the name of its format."""

    item: Trajectory | Candidate
    form: str


_Found: TypeAlias = "_Read | _Unreadable"


def _read_tools_file(path: Path) -> tuple[Tool, ...]:
    try:
        tools = read_tools(decode(path.read_text(encoding="utf-8-sig")))
    except (BadRecord, BadJson, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a JSON list of function tools ({error}); fix --tools") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); fix --tools") from None
    return tools


@dataclass(frozen=True, slots=True)
class _How:
    """How records are read."""

    form: Format | None
    tools: tuple[Tool, ...]
    domain: str | None

    def read(self, record: Record) -> Iterator[_Found]:
        """What a record holds: usually one trajectory; each part by itself, so that a bad one costs no other."""
        form = self.form or detect(record.value)
        if form is None:
            known = ", ".join(form.name for form in FORMATS)
            yield _Unreadable("unknown_format", record.source, f"its keys fit no known format ({known})")
            return
        try:
            for number, part in enumerate(form.parts(record.value), 1):
                source = record.source if number == 1 else f"{record.source}#{number}"
                yield self._read_part(form, part, source)
        except BadRecord as error:
            yield _Unreadable(error.reason, record.source, error.detail, form.name)

    def _read_part(self, form: Format, part: dict[str, object], source: str) -> _Found:
        try:
            item = form.read(part, source, self.tools)
        except BadRecord as error:
            return _Unreadable(error.reason, source, error.detail, form.name)
        if isinstance(item, Trajectory) and not any(message["role"] == "assistant" for message in item.messages):
            return _Unreadable("no_assistant_turn", source, "there is no expert action in it", form.name)
        return _Read(replace(item, domain=self.domain) if self.domain else item, form.name)


def _found(inputs: Sequence[Path], how: _How) -> Iterator[tuple[_Found, int]]:
    """Everything in the files, with the stored bytes read so far."""
    before = 0
    for path in inputs:
        position = 0
        seen = False
        for record in read_records(path):
            seen = True
            position = max(position, record.position)
            if isinstance(record, BadRow):
                yield _Unreadable(record.reason, record.source, WHAT_TO_DO[record.reason]), before + position
            else:
                for found in how.read(record):
                    yield found, before + position
        if not seen:
            yield _Unreadable("empty_file", f"{display_name(path)}:1", "the file holds no record"), before
        before += path.stat().st_size if path.is_file() else position


class _Writer:
    """Cuts trajectories, writes rows and skips, and keeps the report."""

    def __init__(self, report: ConvertReport, sides: Sides, rows: TextIO, held_out: TextIO, skips: TextIO) -> None:
        self._report = report
        self._sides = sides
        self._rows = rows
        self._held_out = held_out
        self._skips = skips
        self._ids = DigestSet()

    def _note(self, source: str, reason: str, turn: int | None, detail: str = "") -> None:
        record = {"source": source, "reason": reason, "turn": turn, "detail": detail}
        self._skips.write(json.dumps(record, ensure_ascii=True) + "\n")

    def bad_row(self, row: _Unreadable) -> None:
        self._report.bad_rows[row.reason] += 1
        self._report.formats[row.form]["bad_rows"] += 1
        self._note(row.source, row.reason, None, row.detail)

    def drop(self, read: _Read) -> None:
        reason = "success_unknown" if read.item.success is None else "not_successful"
        self._report.dropped[reason] += 1
        self._report.formats[read.form]["dropped"] += 1
        self._note(read.item.source, reason, None)

    def add(self, read: _Read) -> None:
        report, item = self._report, read.item
        counts = report.formats[read.form]
        if isinstance(item, Trajectory):
            report.trajectories += 1
            counts["trajectories"] += 1
            report.left_out.update(item.left_out)
            turns: Iterator[Candidate | Skip] = candidates(item)
        else:
            report.rows += 1
            counts["rows"] += 1
            turns = iter([item])
        report.without_task += self._sides.lacks_task(item)
        report.without_tools += _lacks_tools(item)
        held_out = self._sides.is_held_out(item)
        for turn in turns:
            report.turns += 1
            counts["turns"] += 1
            if isinstance(turn, Candidate) and held_out is None:
                turn = Skip("on_both_sides", turn.source, turn.turn)
            elif isinstance(turn, Candidate) and not self._ids.add(turn.candidate_id):
                turn = Skip("duplicate", turn.source, turn.turn)
            if isinstance(turn, Skip):
                report.skipped[turn.reason] += 1
                self._note(turn.source, turn.reason, turn.turn)
            else:
                counts["candidates"] += 1
                self._write(turn, held_out=bool(held_out))

    def _write(self, candidate: Candidate, *, held_out: bool) -> None:
        report = self._report
        report.candidates += 1
        report.kinds[candidate.expected.kind] += 1
        report.domains[candidate.domain] += 1
        report.validation += held_out
        file = self._held_out if held_out else self._rows
        file.write(json.dumps(to_row(candidate), ensure_ascii=False) + "\n")


def _lacks_tools(item: Trajectory | Candidate) -> bool:
    expected = item.expected.calls if isinstance(item, Candidate) else ()
    return not item.tools and (bool(expected) or any("tool_calls" in message for message in item.messages))


@contextmanager
def _writer(out_dir: Path, report: ConvertReport, sides: Sides, *, hold_out: bool) -> Iterator[_Writer]:
    for name in OUTPUTS:
        remove_leftovers(out_dir / name)
    with ExitStack() as opened:
        rows = opened.enter_context(atomic_write(out_dir / ROWS))
        yield _Writer(
            report,
            sides,
            rows=rows,
            held_out=opened.enter_context(atomic_write(out_dir / HELD_OUT)) if hold_out else rows,
            skips=opened.enter_context(atomic_write(out_dir / SKIPS)),
        )
        if not hold_out:  # an earlier run's would hold rows that are now to be trained on
            (out_dir / HELD_OUT).unlink(missing_ok=True)


def _run(
    found: Iterator[tuple[_Found, int]],
    writer: _Writer,
    report: ConvertReport,
    *,
    only_successful: bool,
    strict: bool,
    progress: Progress | None,
) -> _Unreadable | None:
    """Feed the writer; returns the first unreadable record."""
    first_bad: _Unreadable | None = None
    for item, position in found:
        report.records += 1
        if isinstance(item, _Unreadable):
            if strict:
                raise UserError(f"{item.source}: {item.reason}: {item.detail}; fix the record or leave out --strict")
            first_bad = first_bad or item
            writer.bad_row(item)
        elif only_successful and item.item.success is not True:
            writer.drop(item)
        else:
            writer.add(item)
        if progress is not None:
            progress(report, position)
    return first_bad


def convert(
    inputs: Sequence[Path],
    out_dir: Path,
    *,
    tools_path: Path | None = None,
    fmt: str | None = None,
    domain: str | None = None,
    only_successful: bool = False,
    strict: bool = False,
    validation: float = 0.0,
    split: str = "trajectory",
    progress: Progress | None = None,
) -> ConvertReport:
    """Convert trajectory files to single-step rows.

    Writes `out_dir/candidates.jsonl`, `validation.jsonl` (those of held-out trajectories; removed if none are wanted),
    `skipped.jsonl` (one line a skipped turn or unreadable record, with its `file:line`) and `report.json`, each whole
    or not at all. Memory holds one record and a few bytes a candidate, however large the files are.

    Args:
        inputs: Files, folders, globs or `-` (stdin); the same candidate in two of them is written once.
        out_dir: Made when missing.
        tools_path: JSON list of tools for trajectories that carry none.
        fmt: Name of a format; None detects it record by record.
        domain: The domain of all trajectories; None takes each format's own.
        only_successful: Leave out trajectories that failed, or that do not say.
        strict: Stop at the first record that cannot be read.
        validation: Share of the trajectories (or tasks), chosen by hash, to hold out whole; see `Sides`.
        split: What is held out whole: each `trajectory`, or all trajectories of a `task`.
        progress: Called after every record with the report so far and the stored bytes read.

    Returns:
        The counts, as in `report.json`.

    Raises:
        UserError: A missing file, an unwritable folder, an unknown format or split, no trajectory at all, or with
            `strict` the first bad record.
    """
    sides = Sides(split, validation)
    form = format_named(fmt) if fmt is not None else None
    how = _How(form, _read_tools_file(tools_path) if tools_path is not None else (), domain)
    files = expand(inputs, {(out_dir / name).absolute() for name in OUTPUTS})
    report = ConvertReport(inputs=[display_name(path) for path in files], split=split)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with _writer(out_dir, report, sides, hold_out=validation > 0) as writer:
            found = _found(files, how)
            first_bad = _run(found, writer, report, only_successful=only_successful, strict=strict, progress=progress)
            _check_not_empty(report, first_bad)
        with atomic_write(out_dir / REPORT) as file:
            file.write(json.dumps(report.to_json(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"{out_dir}: cannot be written ({error.strerror}); choose another --out") from None
    return report


def _check_not_empty(report: ConvertReport, first_bad: _Unreadable | None) -> None:
    if report.trajectories or report.rows:
        return
    if first_bad is not None:
        raise UserError(
            f"{first_bad.source}: {first_bad.reason}: {first_bad.detail}; no trajectory could be read, "
            f"see `pivot convert --help` for the formats"
        )
    if report.dropped:
        raise UserError("no trajectory is marked successful; leave out --only-successful")
    raise UserError("no input file given")
