"""`pivot convert` from the command line."""

import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from pivot.cli import main
from pivot.trajectory.detect import FORMATS
from pivot.trajectory.progress import ConvertProgress, closing_table
from pivot.trajectory.report import ConvertReport
from tests.unit.trajectory.examples import RAW


def test_help_names_every_format_with_its_shape(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    for form in FORMATS:
        assert f"  {form.name:<15}{form.shape}" in shown
    assert "pivot convert - --format openai_chat" in shown


def test_stdin_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stdin:
        buffer = io.BytesIO(json.dumps(RAW).encode() + b"\n{}\n")

    monkeypatch.setattr("sys.stdin", Stdin())
    main(["convert", "-", "--out", str(tmp_path), "--domain", "search"])
    shown = capsys.readouterr().out
    assert "openai_chat" in shown
    assert "rows unreadable: unknown_format" in shown
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["inputs"], report["candidates"], report["domains"]) == (["stdin"], 2, {"search": 2})
    assert json.loads((tmp_path / "skipped.jsonl").read_text())["source"] == "stdin:2"


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["convert", str(tmp_path / "no*.json"), "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"pivot: {tmp_path}/no*.json: no file matches; check the pattern\n"


@pytest.mark.parametrize(("total", "told"), [(2_000_000, "1.0/2.0 MB"), (None, "3 trajectories, 7 candidates")])
def test_progress_tells_the_bytes_read_where_the_total_is_known(total: int | None, told: str) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=200)
    with ConvertProgress(console, total) as bar:
        bar.update(ConvertReport([], trajectories=2, rows=1, candidates=7), 1_000_000)
    assert told in file.getvalue()


def test_the_closing_table_has_a_line_a_reason() -> None:
    report = ConvertReport([], trajectories=1, turns=3, candidates=1, split="task", validation=1, without_task=1)
    report.skipped.update({"duplicate": 2})
    report.left_out.update({"images": 4})
    report.dropped.update({"not_successful": 5})
    report.formats["atif"]["trajectories"] = 1
    report.without_tools = 3
    console = Console(file=io.StringIO(), width=200)
    console.print(closing_table(report, Path("out")))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "with calls, but no tools (see --tools)" in shown
    for line in ("turns skipped: duplicate", "not in any message: images", "trajectories dropped: not_successful",
                 "1 trajectories", "held out for validation, by task", "out/candidates.jsonl"):  # fmt: skip
        assert line in shown


def test_a_long_path_is_shown_whole_and_as_it_is() -> None:
    console = Console(file=io.StringIO(), width=80)
    out = Path("/srv/[bold]runs", *["folder"] * 12, os.fsdecode(b"a\xff"))
    console.print(closing_table(ConvertReport([]), out))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    cells = [line.split("│")[2].strip() for line in shown.splitlines() if line.count("│") == 3]
    assert "".join(cells).endswith(f"/srv/[bold]runs/{'folder/' * 12}a\ufffd/candidates.jsonl")
