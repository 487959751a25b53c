"""Files, folders and patterns: which files they stand for, each once and in a stable order."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.trajectory.inputs import STDIN, display_name, expand, is_lines_name, is_trajectory_name, total_bytes


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


def test_linked_folders_are_read_once_and_a_link_back_up_ends(tmp_path: Path) -> None:
    _make(tmp_path, "here/1.json", "elsewhere/2.json")
    os.symlink(tmp_path / "elsewhere", tmp_path / "here" / "linked")
    os.symlink(tmp_path / "here", tmp_path / "elsewhere" / "back")
    found = [str(path.relative_to(tmp_path)) for path in expand([tmp_path / "here"])]
    assert found == ["here/1.json", "here/linked/2.json"]


def test_a_name_that_is_too_long_is_a_mistake_like_any_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aaa: cannot be read \(File name too long\); check the path"):
        expand([tmp_path / ("a" * 300)])


def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(tmp_path, "1.json", "locked/2.json")
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"locked: cannot be read \(Permission denied\)"):
        expand([tmp_path])


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


def test_names_that_promise_lines() -> None:
    assert [is_lines_name(name) for name in ("a.jsonl", "A.NDJSON.gz", "a.json", "stdin")] == [True, True, False, False]
