"""Memory holds one record, however long the file: measured, not timed."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pivot.trajectory import records
from pivot.trajectory.convert import convert

FEW = 30
TEXT = "word " * 2000  # 10 kB a record: the few fill a chunk, twenty times as many would fill the allowance six times
ALLOWANCE = 1_000_000


def _chats(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"{number} {TEXT}"},
                {"role": "assistant", "content": f"answer {number}"},
            ]
        }
        for number in range(count)
    ]


def _lines(path: Path, count: int) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in _chats(count)))


def _gzip_lines(path: Path, count: int) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in _chats(count)).encode()))


def _zstd_lines(path: Path, count: int) -> None:
    data = "".join(json.dumps(row) + "\n" for row in _chats(count)).encode()
    path.write_bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


def _array(path: Path, count: int) -> None:
    path.write_text(json.dumps(_chats(count)))


def _spread_array(path: Path, count: int) -> None:
    path.write_text(json.dumps(_chats(count), indent=1))


def _results(path: Path, count: int) -> None:
    episodes = [{"id": str(number), "task_id": number, **chat} for number, chat in enumerate(_chats(count))]
    path.write_text(json.dumps({"info": {"environment_info": {"policy": "p"}}, "simulations": episodes}, indent=1))


def _results_on_one_line(path: Path, count: int) -> None:
    _results(path, count)
    path.write_text(json.dumps(json.loads(path.read_text())))


def _bad_lines(path: Path, count: int) -> None:
    path.write_text(json.dumps(_chats(1)[0]) + "\n" + f'{{"what": "{TEXT}"}}\n' * count)


def _duplicates(path: Path, count: int) -> None:
    path.write_text((json.dumps(_chats(1)[0]) + "\n") * count)


def _parquet(path: Path, count: int) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(_chats(count)), path, row_group_size=20)


def _peak(source: Path, out: Path) -> int:
    tracemalloc.start()
    try:
        convert([source], out)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (_lines, "a.jsonl"),
        (_gzip_lines, "a.jsonl.gz"),
        (_zstd_lines, "a.jsonl.zst"),
        (_array, "a.json"),
        (_spread_array, "a.json"),
        (_results, "a.json"),
        (_results_on_one_line, "a.json"),
        (_bad_lines, "a.jsonl"),
        (_duplicates, "a.jsonl"),
        (_parquet, "a.parquet"),
    ],
)
def test_a_file_twenty_times_as_long_takes_no_more_memory(
    tmp_path: Path, write: Callable[[Path, int], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_LOOK_AHEAD", 100_000)
    source = tmp_path / name
    write(source, 2)
    convert([source], tmp_path / "warm")  # imports and caches
    peaks = []
    for count in (FEW, 20 * FEW):
        write(source, count)
        peaks.append(_peak(source, tmp_path / str(count)))
    assert 20 * FEW * len(TEXT) > 5 * ALLOWANCE
    assert peaks[1] < peaks[0] + ALLOWANCE
