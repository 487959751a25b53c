"""A file's records are the same however they are laid out, compressed and cut into chunks."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.trajectory import json_stream, records
from pivot.trajectory.inputs import STDIN
from pivot.trajectory.json_stream import ByteStream
from pivot.trajectory.records import BadRow, Record, read_records

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(['"', "\\", '\\"[{', "}\n,]"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3).filter(lambda value: "simulations" not in value)


def _read(data: bytes, step: int = 1 << 20) -> list[Record | BadRow]:
    source = io.BytesIO(data)
    stream = ByteStream(lambda size: source.read(min(size, step)))
    return list(records._Reader("f", stream, lambda: 0).read())


def _told(found: list[Record | BadRow]) -> list[tuple[Any, str]]:
    return [(item.value if isinstance(item, Record) else item.reason, item.source) for item in found]


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_every_layout_of_some_objects_gives_them_back(
    objects: list[dict[str, Any]], step: int, indent: int | None, ascii_only: bool
) -> None:
    def dump(value: Any, indent: int | None = None) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ascii_only)

    whole = bool(objects[0].keys() >= {"role", "content"})
    lines = "".join(dump(value) + "\n" for value in objects)
    texts = [lines, "\n \n" + lines.rstrip("\n")]
    if all(objects):  # an empty object is spread over no lines
        texts.append("\n".join(dump(value, indent) for value in objects))
    if not whole:
        texts.append(dump(objects, indent))
    for text in texts:
        found = _read(text.encode(), step)
        assert [item.value for item in found if isinstance(item, Record)] == objects
        assert len(found) == len(objects)


@given(st.binary(max_size=80) | st.text(alphabet='[]{}",:01 \n\\é\ud800', max_size=80).map(
    lambda text: text.encode("utf-8", "surrogatepass")), st.integers(1, 30))  # fmt: skip
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_records_or_reasons(data: bytes, step: int) -> None:
    for item in _read(data, step):
        assert isinstance(item, Record) or item.reason in records.WHAT_TO_DO


@given(st.lists(OBJECTS, min_size=1, max_size=3), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_results_are_read_episode_by_episode(episodes: list[dict[str, Any]], step: int) -> None:
    data = {"info": {"a": [1]}, "tasks": [], "simulations": episodes, "later": "}"}
    for text in (json.dumps(data, indent=1), json.dumps(data, indent=1) + "\n" + json.dumps(data, indent=1)):
        found = [item.value for item in _read(text.encode(), step) if isinstance(item, Record)]
        once = [{"info": {"a": [1]}, "tasks": [], "simulations": [episode]} for episode in episodes]
        assert found == once * (2 if len(text) > len(json.dumps(data, indent=1)) else 1)


def test_sources_name_line_and_number_on_the_line() -> None:
    assert _told(_read(b'[{"a": 1}, {"a": 2},\n\n 7, {"a": 3}]')) == [
        ({"a": 1}, "f:1"),
        ({"a": 2}, "f:1[2]"),
        ("not_object", "f:3"),
        ({"a": 3}, "f:3[2]"),
    ]
    assert _told(_read(b'\xef\xbb\xbf\n{"a": 1}\n\nbad\n{"a": 2}')) == [
        ({"a": 1}, "f:2"),
        ("not_json", "f:4"),
        ({"a": 2}, "f:5"),
    ]
    assert _told(_read(b'{\n"a": 1\n}\n{\n"a": 2\n}')) == [({"a": 1}, "f:1"), ({"a": 2}, "f:4")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": [}\n{"a": 1}\n', [("not_json", "f:1"), ({"a": 1}, "f:2")]),
        (b'{"a": 1\n{"a": 2}\n', [("not_json", "f:1"), ({"a": 2}, "f:2")]),
        (b'{"a":\n 1,\n', [("truncated", "f:3")]),
        (b'{\n"a": NaN,\n"b": 1}', [("not_finite", "f:1")]),
        (b'{\n"a" 1}', [("not_json", "f:2")]),
        (b'[\n{"a": 1}\n{"a": 2}]', [({"a": 1}, "f:2"), ("not_json", "f:3")]),
        (b'[\n{"a": 1},\n]', [({"a": 1}, "f:2"), ("not_json", "f:3")]),
        (b'[\n{"a": 1}\n] x', [({"a": 1}, "f:2"), ("not_json", "f:3")]),
        (b'[\n{"a": "x', [("truncated", "f:2")]),
        (b'[\n{"a": ' + b"[" * 9999 + b"]" * 9999 + b'},\n{"a": 1}]', [("too_deep", "f:2"), ({"a": 1}, "f:3")]),
        (b"[]", []),
        (b"{}", [({}, "f:1")]),
        (b'{"info": NaN,\n"simulations": [{}, {}]}', [("not_finite", "f:1")]),
        (b'{"info": 1,\n"simulations": [{},\nx]}', [
            ({"info": 1, "simulations": [{}]}, "f:2"),
            ("not_json", "f:3"),
        ]),
        (b'{"info": 1,\n"simulations": []}', [({"info": 1, "simulations": []}, "f:1")]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_by_its_line(data: bytes, expected: list[tuple[Any, str]]) -> None:
    assert _told(_read(data)) == expected
    assert _told(_read(data, 1)) == expected


def test_an_array_of_messages_or_events_is_one_record() -> None:
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    assert _told(_read(json.dumps(messages, indent=1).encode())) == [({"messages": messages}, "f:1")]
    line = json.dumps(messages) + "\n"
    assert _told(_read(2 * line.encode())) == [({"messages": messages}, f"f:{n}") for n in (1, 2)]
    events = [{"source": "user", "action": "message"}, {"source": "agent", "kind": "x"}]
    assert _told(_read(json.dumps(events, indent=1).encode())) == [({"history": events}, "f:1")]
    assert [item.source for item in _read(b'[{"role": "user", "content": "x"},\nNaN]')] == ["f:2"]


def test_a_line_without_end_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_VALUE", 100)
    monkeypatch.setattr(json_stream, "CHUNK", 16)
    monkeypatch.setattr(records, "_LOOK_AHEAD", 50)
    long = b'{"a": "' + b"x" * 300 + b'"}'
    told = [({"a": 1}, "f:1"), ("too_long", "f:2"), ({"a": 2}, "f:3")]
    assert _told(_read(b'{"a": 1}\n' + long + b'\n{"a": 2}\n')) == told
    assert _told(_read(b'[{"a": 1},\n' + long + b"]")) == told[:2]


LONG = b'{"a": "' + b"x" * 300 + b'"}'


@pytest.mark.parametrize(
    ("name", "told"),
    [("f.jsonl", ["not_json", {"a": 2}]), ("f.jsonl.gz", ["not_json", {"a": 2}]), ("f.json", ["not_json"])],
)
def test_where_the_first_line_is_too_long_to_look_ahead_the_name_says_whether_lines_are_records(
    monkeypatch: pytest.MonkeyPatch, name: str, told: list[Any]
) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 16)
    monkeypatch.setattr(records, "_LOOK_AHEAD", 50)
    source = io.BytesIO(LONG + b'\nbad\n{"a": 2}\n')
    found = list(records._Reader(name, ByteStream(source.read), lambda: 0).read())
    assert [item.value if isinstance(item, Record) else item.reason for item in found[1:]] == told


def test_a_broken_line_among_arrays_costs_itself_alone() -> None:
    line = b'[{"role": "user", "content": "x"}]\n'
    value = {"messages": [{"role": "user", "content": "x"}]}
    assert _told(_read(line + b"[{,\n" + line)) == [(value, "f:1"), ("not_json", "f:2"), (value, "f:3")]


ROWS = [{"messages": [{"role": "user", "content": f"é{n}"}]} for n in range(5)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def _zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


def _values(path: Path) -> list[Any]:
    return [item.value if isinstance(item, Record) else item.reason for item in read_records(path)]


def test_compressed_files_are_read_as_they_are(tmp_path: Path) -> None:
    frame = _zstd
    for name, data in {
        "a.jsonl.gz": gzip.compress(LINES),
        "two.jsonl.gz": gzip.compress(LINES[:40]) + gzip.compress(LINES[40:]),
        "a.jsonl.zst": frame(LINES),
        "two.JSONL.ZST": frame(LINES[:40]) + frame(LINES[40:]),
        "array.json.zst": frame(json.dumps(ROWS).encode()),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert _values(tmp_path / name) == ROWS
        *_, last = read_records(tmp_path / name)
        assert last.position == len(data)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_or_truncated_file_says_so(tmp_path: Path, suffix: str) -> None:
    many = LINES * 3000
    data = gzip.compress(many) if suffix == ".gz" else _zstd(many)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(data[:-9])
    assert _values(path)[-1] == "damaged_compression"
    path.write_bytes(data + b"garbage!")
    *before, last = _values(path)
    assert last == "damaged_compression"
    assert len(before) > 14_000
    assert before == (ROWS * 3000)[: len(before)]
    path.write_bytes(LINES)
    assert _values(path) == ["damaged_compression"]


def test_zstd_without_its_end_is_damaged_even_at_the_end_of_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.zst"
    sink = pyarrow.BufferOutputStream()
    stream = pyarrow.CompressedOutputStream(sink, "zstd")
    stream.write(LINES)
    stream.flush()
    path.write_bytes(sink.getvalue().to_pybytes())
    assert _values(path)[-1] == "damaged_compression"


@pytest.mark.parametrize("pack", [gzip.compress, _zstd])
def test_a_compressed_file_under_another_name_is_told_by_its_first_bytes(tmp_path: Path, pack: Any) -> None:
    (tmp_path / "a.jsonl").write_bytes(pack(LINES))
    assert _values(tmp_path / "a.jsonl") == ROWS


class _Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, _zstd])
def test_stdin_is_read_in_any_form(monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    monkeypatch.setattr("sys.stdin", _Stdin(pack(LINES)))
    found = list(read_records(STDIN))
    assert [item.value for item in found if isinstance(item, Record)] == ROWS
    assert found[1].source == "stdin:2"
    monkeypatch.setattr("sys.stdin", _Stdin(b"PAR1...."))
    with pytest.raises(UserError, match="name the file"):
        list(read_records(STDIN))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match=r"stdin: is closed; .*name a file"):
        list(read_records(STDIN))


def test_parquet_rows_are_read_with_their_number(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [
        {"messages": [{"role": "user", "content": "x", "tool_calls": None}], "reward": 1.0, "made": None},
        {
            "messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}],
            "reward": None,
            "made": None,
        },
        {"messages": [], "reward": float("nan"), "made": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    size = path.stat().st_size
    assert list(read_records(path)) == [
        Record({"messages": [{"role": "user", "content": "x"}], "reward": 1.0}, f"{path}:1", size // 3),
        Record({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, f"{path}:2", 2 * size // 3),
        BadRow("not_finite", f"{path}:3", size),
    ]
    path.write_bytes(path.read_bytes()[:-5])
    assert _values(path) == ["damaged_parquet"]
    path.write_bytes(b"no parquet")
    assert _values(path) == ["damaged_parquet"]
    with pytest.raises(UserError, match="no such file"):
        list(read_records(tmp_path / "b.parquet"))


def test_a_parquet_value_that_python_cannot_hold_costs_its_row_alone(tmp_path: Path) -> None:
    days = pyarrow.array([1, 10**7], pyarrow.int32()).cast(pyarrow.date32())
    raw = pyarrow.array([b"\xff", b"text"])
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "made": days}), tmp_path / "days.parquet")
    assert _values(tmp_path / "days.parquet") == [{"a": 1, "made": "1970-01-02"}, "unsupported_value"]
    pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2], "raw": raw}), tmp_path / "raw.parquet")
    assert _values(tmp_path / "raw.parquet") == ["not_utf8", {"a": 2, "raw": "text"}]
