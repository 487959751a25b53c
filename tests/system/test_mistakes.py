"""A user's mistakes: status 2 and one line that names the file, line or key, never a traceback."""

import json
from pathlib import Path

import pytest

from tests.system.running import pivot

CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello, Ann."}], "tools": []}


def refused(*arguments: str | Path) -> str:
    done = pivot(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("content", "named"),
    [("", "empty"), ("not json\n", "in.jsonl:1"), ('{"messages": [{"role": "user", "content": "x"}]}\n', "in.jsonl:1")],
)
def test_nothing_to_convert(tmp_path: Path, content: str, named: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    line = refused("convert", source, "--out", tmp_path / "out")
    assert "in.jsonl" in line
    assert named in line


def test_bad_rows_are_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    broken = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}]}]}  # fmt: skip
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join([json.dumps(CHAT), "{", json.dumps(broken)]) + "\n")
    assert pivot("convert", source, "--out", tmp_path / "out").returncode == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["candidates"] == 1
    assert report["turns"] == report["candidates"] + sum(report["skipped"].values())
    skipped = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert {Path(row["source"]).name for row in skipped} == {"in.jsonl:2", "in.jsonl:3"}
    assert all(row["reason"] for row in skipped)


def test_missing_input_and_unwritable_directory(tmp_path: Path) -> None:
    assert "no such file" in refused("convert", tmp_path / "none.jsonl", "--out", tmp_path / "out")
    (tmp_path / "in.jsonl").write_text(json.dumps(CHAT) + "\n")
    assert "cannot" in refused("convert", tmp_path / "in.jsonl", "--out", "/proc/nowhere")
    assert "/proc/nowhere: cannot write" in refused("demo", "--out", "/proc/nowhere")


def test_unknown_key_missing_checkpoint_missing_pivots(tmp_path: Path) -> None:
    assert "'train.step'; did you mean train.steps?" in refused("train", "train.step=3")
    assert "model.path=" in (line := refused("train", f"model.path={tmp_path / 'none'}")), line
    assert "data.pivots=" in refused("train", f"data.pivots={tmp_path / 'none'}")
    assert "data.candidates=" in refused("mine", f"data.candidates={tmp_path / 'none'}")
    assert "no recipe 'dmeo'" in refused("train", "--config", "dmeo")


def test_a_layout_that_does_not_divide(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(CHAT) + "\n")
    assert pivot("convert", source, "--out", tmp_path).returncode == 0
    line = refused("train", f"data.pivots={tmp_path / 'candidates.jsonl'}", f"run.dir={tmp_path / 'run'}",
                   "parallel.ranks=2", "parallel.tensor=3")  # fmt: skip
    assert "2 ranks do not divide by tensor 3" in line


@pytest.mark.parametrize(
    "command",
    [
        *("", "convert", "mine", "train", "sft", "evaluate", "export"),
        *("launch", "resume", "plan", "doctor", "report", "demo"),
    ],
)
def test_help_teaches_with_an_example(command: str) -> None:
    done = pivot(*command.split(), "--help")
    assert done.returncode == 0
    assert "pivot " in done.stdout.split("example", 1)[-1]
