"""The report page: one self-contained HTML file, without scripts and without requests to anywhere."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pivot.errors import UserError
from pivot.report.charts import phase_seconds, rewards_chart, training_plots, turns_chart
from pivot.report.data import Evaluation, MinedCandidate, ReportData
from pivot.report.rates import percent, rate_row
from pivot.report.svg import number
from pivot.trajectory.atomic import atomic_write

MOST_CHARACTERS = 6000
"""Of one text on the page: a runaway completion must not make it unreadable."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def write_report(out_dir: Path, data: ReportData) -> Path:
    """Write `index.html` into `out_dir`.

    Args:
        out_dir: made when missing.
        data: what to show; its text is untrusted and only ever shown as text.

    Returns:
        The page's path.

    Raises:
        UserError: the directory can't be written.
    """
    path = out_dir / "index.html"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(render(data))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a directory that can be written") from error
    return path


def render(data: ReportData) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("pivot.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["number"] = number
    environment.filters["shortened"] = shortened
    return environment.get_template("page.html").render(
        title=data.title,
        facts=facts(data.summary),
        counts=mined_counts(data.candidates),
        rewards_chart=rewards_chart(data.candidates),
        turns_chart=turns_chart(data.candidates),
        kinds=kind_rows(data.candidates),
        plots=training_plots(data.metrics),
        phases=phase_seconds(data.metrics),
        run_seconds=numbers(data.summary.get("seconds")),
        steps=len(data.metrics),
        metrics=data.metrics,
        columns=sorted({column for row in data.metrics for column in row} - {"step"}),
        rates=[rate_row(evaluation.name, evaluation) for evaluation in data.evaluations],
        seeds=[
            rate_row(f"{evaluation.name}, seed {seed.seed}", Evaluation(evaluation.name, (seed,)))
            for evaluation in data.evaluations
            for seed in evaluation.seeds
        ],
        examples=data.examples,
    )


def printable(text: str) -> str:
    """Control characters, direction overrides and lone surrogates as replacement characters."""
    return _CONTROL.sub("\ufffd", text)


def shortened(text: str, *, tail: bool = False) -> str:
    """At most `MOST_CHARACTERS` of a text, from its start or its tail, saying how much is left out."""
    left_out = len(text) - MOST_CHARACTERS
    if left_out <= 0:
        return text
    if tail:
        return f"[{left_out:,} characters before this]\n{text[-MOST_CHARACTERS:]}"
    return f"{text[:MOST_CHARACTERS]}\n[{left_out:,} more characters]"


def mined_counts(candidates: Sequence[MinedCandidate]) -> list[tuple[str, int, str]]:
    """Outcomes of mining: name, count, share with its interval."""
    n = len(candidates)
    rows = [
        ("all 0 (never right)", sum(candidate.outcome == "all0" for candidate in candidates)),
        ("mixed (carries a signal)", sum(candidate.outcome == "mixed" for candidate in candidates)),
        ("all 1 (always right)", sum(candidate.outcome == "all1" for candidate in candidates)),
        ("selected as pivots", sum(candidate.selected for candidate in candidates)),
    ]
    return [(name, count, percent(count, n)) for name, count in rows] if n else []


def kind_rows(candidates: Sequence[MinedCandidate]) -> list[tuple[str, int, int, int, int, int]]:
    """By kind of expert action: kind, candidates, all 0, mixed, all 1, pivots."""
    rows = []
    for kind in sorted({candidate.kind for candidate in candidates}):
        group = [candidate for candidate in candidates if candidate.kind == kind]
        outcomes = [candidate.outcome for candidate in group]
        chosen = sum(candidate.selected for candidate in group)
        rows.append((kind, len(group), outcomes.count("all0"), outcomes.count("mixed"), outcomes.count("all1"), chosen))
    return rows


def facts(summary: Mapping[str, object]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Numbers of the summary by part, without evaluation and seconds, which have tables of their own."""
    parts = [(name, numbers(part)) for name, part in summary.items() if name not in ("eval", "seconds")]
    return [(name, values) for name, values in parts if values]


def numbers(value: object) -> list[tuple[str, float]]:
    """The numeric entries of a mapping; nothing when it is none."""
    if not isinstance(value, Mapping):
        return []
    return [(str(key), float(entry)) for key, entry in value.items() if isinstance(entry, int | float)]
