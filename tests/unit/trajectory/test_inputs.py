"""Files, folders and patterns: which files they stand for, each once and in a stable order."""

import os
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.trajectory.inputs import STDIN, display_name, expand, is_trajectory_name, total_bytes


def _make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}\n")


def test_a_folder_is_read_with_all_below_it_by_suffix_and_sorted(tmp_path: Path) -> None:
    _make(tmp_path, "b.jsonl", "a/z.traj", "a/c.JSON.gz", "a/d.parquet", "e.ndjson.zst", "notes.md", "x.tar.gz")
    _make(tmp_path, ".git/x.json", ".hidden.json", "a/.ipynb_checkpoints/y.json")
    found = [str(path.relative_to(tmp_path)) for path in expand([tmp_path])]
    assert found == ["a/c.JSON.gz", "a/d.parquet", "a/z.traj", "b.jsonl", "e.ndjson.zst"]


def test_patterns_are_sorted_and_each_file_is_read_once(tmp_path: Path) -> None:
    _make(tmp_path, "b/2.json", "a/1.json", "a/deep/3.json", "a/[x].json")
    names = [str(path.relative_to(tmp_path)) for path in expand([tmp_path / "**" / "*.json", tmp_path / "b"])]
    assert names == ["a/1.json", "a/[x].json", "a/deep/3.json", "b/2.json"]
    assert expand([tmp_path / "a" / "[x].json"]) == [tmp_path / "a" / "[x].json"]
    assert expand([tmp_path / "?"]) == expand([tmp_path])
    os.symlink(tmp_path / "a" / "1.json", tmp_path / "again.json")
    assert len(expand([tmp_path / "again.json", tmp_path / "a" / "1.json"])) == 1


def test_what_stands_for_nothing_is_an_error(tmp_path: Path) -> None:
    _make(tmp_path, "readme.md")
    for path, message in {
        tmp_path: "no trajectory file in this folder",
        tmp_path / "*.json": "no file matches",
        tmp_path / "a.json": "no such file; check the path",
    }.items():
        with pytest.raises(UserError, match=message):
            expand([path])


def test_sizes_are_known_of_files_alone(tmp_path: Path) -> None:
    _make(tmp_path, "a.json", "b.json")
    assert total_bytes(expand([tmp_path])) == 6
    assert total_bytes([tmp_path / "a.json", STDIN]) is None
    assert expand([STDIN, STDIN]) == [STDIN]


def test_names_can_be_written_whatever_bytes_they_hold() -> None:
    assert display_name(STDIN) == "stdin"
    assert display_name(Path(os.fsdecode(b"a\xff.json"))) == "a\ufffd.json"


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("a.jsonl", True),
        ("a.parquet", True),
        ("a.parquet.gz", False),
        ("a.json.zst", True),
        ("a.gz", False),
        ("a", False),
    ],
)
def test_known_suffixes(name: str, known: bool) -> None:
    assert is_trajectory_name(name) is known
