"""`convert` accounts for every record and every turn, and a user's mistake is one line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pivot.errors import UserError
from pivot.trajectory import from_row, load_candidates, to_row
from pivot.trajectory.atomic import atomic_write, remove_leftovers
from pivot.trajectory.convert import convert
from pivot.trajectory.report import ConvertReport
from tests.unit.trajectory.examples import RAW, WEATHER_TOOL, call

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = REPOSITORY.parent / "shared" / "data"


def _write(path: Path, *records: Any) -> Path:
    path.write_bytes(b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records))
    return path


def _chat(*messages: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"messages": list(messages), **extra}


USER = {"role": "user", "content": "hi"}
HELLO = {"role": "assistant", "content": "hello"}


def _skips(out: Path) -> list[tuple[str, str, int | None]]:
    lines = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    return [(Path(line["source"]).name, line["reason"], line["turn"]) for line in lines]


def test_every_turn_is_a_candidate_or_a_counted_reason(tmp_path: Path) -> None:
    broken = {"role": "assistant", "tool_calls": [call("f", "{")]}
    source = _write(
        tmp_path / "in.jsonl",
        RAW,
        _chat(HELLO, USER, broken, USER, {"role": "assistant", "content": None}, USER, HELLO),
        RAW,
    )
    out = tmp_path / "new" / "out"
    report = convert([source], out)
    assert (report.records, report.trajectories, report.turns, report.candidates) == (3, 3, 8, 3)
    assert report.skipped == {"duplicate": 2, "no_history": 1, "broken_arguments": 1, "empty_action": 1}
    assert report.turns == report.candidates + report.skipped.total()
    assert report.kinds == {"function_call": 1, "message": 2}
    assert json.loads((out / "report.json").read_text()) == report.to_json()
    assert _skips(out) == [
        ("in.jsonl:2", "no_history", 0),
        ("in.jsonl:2", "broken_arguments", 1),
        ("in.jsonl:2", "empty_action", 2),
        ("in.jsonl:3", "duplicate", 0),
        ("in.jsonl:3", "duplicate", 1),
    ]
    assert [(c.turn, c.expected.kind) for c in load_candidates(out / "candidates.jsonl")] == [
        (0, "function_call"),
        (1, "message"),
        (3, "message"),
    ]
    assert sorted(path.name for path in out.iterdir()) == ["candidates.jsonl", "report.json", "skipped.jsonl"]


BAD_LINES: list[tuple[bytes | dict[str, Any], str]] = [
    (b"not json\n", "not_json"),
    (b'{"messages": [}\n', "not_json"),
    (b'{"messages": "\xff"}\n', "not_utf8"),
    (b"\x80\x8b\x08\x00bytes\n", "not_utf8"),
    (b"[1, 2]\n", "not_object"),
    (b"7\n", "not_object"),
    (b'{"messages":' + b"[" * 10_000 + b"]" * 10_000 + b"}\n", "too_deep"),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}\n', "lone_surrogate"),
    ({"messages": None}, "messages_missing"),
    ({"messages": {}}, "messages_missing"),
    ({"messages": []}, "no_assistant_turn"),
    (_chat(USER), "no_assistant_turn"),
    (_chat({"role": "elf"}, HELLO), "unknown_role"),
    (_chat(USER, HELLO, tools="none"), "bad_tools"),
    ({"steps": []}, "unknown_format"),
    ({"traj": "x", "reward": 1}, "messages_missing"),
]


def test_bad_lines_are_counted_with_file_and_line(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", _chat(USER, HELLO), *(line for line, _ in BAD_LINES), b"\n", b" \n")
    report = convert([source], tmp_path / "out")
    assert report.candidates == 1
    assert report.records == 1 + len(BAD_LINES)
    assert _skips(tmp_path / "out") == [(f"in.jsonl:{n}", reason, None) for n, (_, reason) in enumerate(BAD_LINES, 2)]
    assert report.bad_rows.total() == len(BAD_LINES)


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_strict_stops_at_the_first_bad_line(tmp_path: Path, line: Any, reason: str) -> None:
    source = _write(tmp_path / "in.jsonl", _chat(USER, HELLO), line)
    with pytest.raises(UserError) as caught:
        convert([source], tmp_path / "out", strict=True)
    assert f"in.jsonl:2: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())  # nothing half-written is left


@pytest.mark.parametrize(("line", "reason"), [*BAD_LINES, (b"", "empty_file"), (b"\n\n", "empty_file")])
def test_a_file_without_any_trajectory_is_an_error(tmp_path: Path, line: Any, reason: str) -> None:
    source = _write(tmp_path / "in.jsonl", line)
    with pytest.raises(UserError) as caught:
        convert([source], tmp_path / "out")
    assert f"in.jsonl:1: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_among_others_is_counted(tmp_path: Path) -> None:
    empty, full = _write(tmp_path / "empty.jsonl"), _write(tmp_path / "full.jsonl", RAW)
    report = convert([empty, full], tmp_path / "out")
    assert report.bad_rows == {"empty_file": 1}
    assert report.candidates == 2


def test_user_mistakes_name_the_path_or_option_and_the_fix(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", RAW)
    with pytest.raises(UserError, match=r"absent\.jsonl: no such file; check the path"):
        convert([tmp_path / "absent.jsonl"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no trajectory file in this folder"):
        convert([tmp_path / "empty"], tmp_path / "out")
    with pytest.raises(UserError, match=r"x\*\.jsonl: no file matches; check the pattern"):
        convert([tmp_path / "x*.jsonl"], tmp_path / "out")
    with pytest.raises(UserError, match="unknown split 'row'; use one of trajectory, task"):
        convert([source], tmp_path / "out", split="row")
    with pytest.raises(UserError, match="unknown format 'yaml'; use one of nemo_gym, tau2_bench"):
        convert([source], tmp_path / "out", fmt="yaml")
    with pytest.raises(UserError, match=r"in\.jsonl.*cannot be written.*choose another --out"):
        convert([source], source / "out")
    with pytest.raises(UserError, match=r"in\.jsonl: not a JSON list of function tools"):
        convert([source], tmp_path / "out", tools_path=source)
    with pytest.raises(UserError, match=r"tools\.json: cannot be read"):
        convert([source], tmp_path / "out", tools_path=tmp_path / "tools.json")
    with pytest.raises(UserError, match="leave out --only-successful"):
        convert([source], tmp_path / "out", only_successful=True)


def test_only_successful_counts_what_it_leaves_out(tmp_path: Path) -> None:
    said: dict[str, dict[str, Any]] = {
        "a": {"success": True},
        "b": {"reward": 1.0},
        "c": {"reward": 0.5},
        "d": {"success": False},
        "e": {},
    }
    records = [_chat(USER, {"role": "assistant", "content": text}, **extra) for text, extra in said.items()]
    report = convert([_write(tmp_path / "in.jsonl", *records)], tmp_path / "out", only_successful=True)
    assert (report.trajectories, report.candidates) == (2, 2)
    assert report.dropped == {"not_successful": 2, "success_unknown": 1}


def test_tau_bench_results_take_their_tools_from_a_file(tmp_path: Path) -> None:
    episode = {"task_id": 4, "reward": 1.0, "info": {}, "traj": RAW["messages"], "trial": 2}
    lost = episode | {"reward": 0.0, "trial": 3, "traj": [USER, HELLO]}
    source = tmp_path / "airline.json"
    source.write_text(json.dumps([episode, lost, 5], indent=1))
    tools = tmp_path / "tools.json"
    tools.write_text(json.dumps([WEATHER_TOOL]))
    report = convert([source], tmp_path / "out", tools_path=tools)
    assert (report.trajectories, report.candidates, report.bad_rows) == (2, 3, {"not_object": 1})
    found = list(load_candidates(tmp_path / "out" / "candidates.jsonl"))
    names = [c.trajectory_id.rsplit("/", 1)[0] for c in found]
    assert names == ["airline/task-4/trial-2"] * 2 + ["airline/task-4/trial-3"]
    assert [c.success for c in found] == [True, True, False]
    assert found[0].tools == (WEATHER_TOOL,)
    assert found[0].task_id == found[2].task_id == "airline/task-4"
    second = 1 + next(n for n, line in enumerate(source.read_text().splitlines()) if line == " },") + 1
    lines = ["airline.json:2", "airline.json:2", f"airline.json:{second}"]
    assert [Path(c.source).name for c in found] == lines


def test_a_bad_array_item_does_not_cost_the_file_and_a_broken_end_is_one_bad_row(tmp_path: Path) -> None:
    good = json.dumps(RAW)
    source = tmp_path / "in.json"
    source.write_text(f'[{good},\n{{"messages": ["\\ud800"]}}, {{"messages": [1,]}},\n7]')
    assert convert([source], tmp_path / "out").candidates == 2
    assert _skips(tmp_path / "out") == [
        ("in.json:2", "lone_surrogate", None),
        ("in.json:2[2]", "not_json", None),
        ("in.json:3", "not_object", None),
    ]
    source.write_text(f"[{good},\n{json.dumps(_chat(USER, HELLO))}\n")
    assert convert([source], tmp_path / "out").candidates == 3
    assert _skips(tmp_path / "out") == [("in.json:3", "truncated", None)]


def test_progress_is_reported_after_every_record_with_the_bytes_read(tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    first = _write(tmp_path / "in.jsonl", RAW, b"bad\n", _chat(USER, HELLO))
    second = _write(tmp_path / "more.jsonl", _chat(USER, {"role": "assistant", "content": "hey"}))
    sizes = [path.stat().st_size for path in (first, second)]
    convert(
        [first, second],
        tmp_path / "out",
        progress=lambda report, read: seen.append((report.trajectories, report.candidates, read)),
    )
    assert seen == [(1, 2, sizes[0]), (1, 2, sizes[0]), (2, 3, sizes[0]), (3, 4, sum(sizes))]


def test_a_folder_that_is_written_into_is_not_read_again(tmp_path: Path) -> None:
    _write(tmp_path / "in.jsonl", RAW)
    first = convert([tmp_path], tmp_path, validation=0.5)
    again = convert([tmp_path], tmp_path, validation=0.5)
    assert first == again
    assert again.inputs == [str(tmp_path / "in.jsonl")]
    rows = convert([tmp_path / "candidates.jsonl", tmp_path / "validation.jsonl"], tmp_path / "out")
    assert (rows.rows, rows.candidates, rows.bad_rows) == (2, 2, {"empty_file": 1})


def test_a_domain_can_be_named(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", RAW)
    assert convert([source], tmp_path / "out", domain="search").domains == {"search": 2}
    assert {c.domain for c in load_candidates(tmp_path / "out" / "candidates.jsonl")} == {"search"}


def test_counts_are_kept_for_each_format(tmp_path: Path) -> None:
    lost = {"task_id": 1, "reward": 0.0, "traj": [USER, HELLO], "trial": 0}
    source = _write(tmp_path / "in.jsonl", RAW, RAW, lost, {"traj": 1}, {"what": 1})
    report = convert([source], tmp_path / "out")
    assert report.formats == {
        "openai_chat": {"trajectories": 2, "turns": 4, "candidates": 2},
        "tau_bench": {"trajectories": 1, "turns": 1, "candidates": 1, "bad_rows": 1},
        "unknown": {"bad_rows": 1},
    }
    assert report.records == report.trajectories + report.rows + report.bad_rows.total() + report.dropped.total()


def test_converting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", RAW)
    convert([source], tmp_path / "a")
    convert([source], tmp_path / "b")
    convert([source], tmp_path / "b")
    assert (tmp_path / "a" / "candidates.jsonl").read_bytes() == (tmp_path / "b" / "candidates.jsonl").read_bytes()


def test_calls_without_tools_on_offer_are_counted(tmp_path: Path) -> None:
    bare = {"messages": RAW["messages"]}
    talk = _chat(USER, HELLO)
    report = convert([_write(tmp_path / "in.jsonl", bare, talk, RAW)], tmp_path / "out")
    assert report.without_tools == 1
    tools = _write(tmp_path / "tools.json", b"\xef\xbb\xbf" + json.dumps([WEATHER_TOOL]).encode())
    assert convert([tmp_path / "in.jsonl"], tmp_path / "out", tools_path=tools).without_tools == 0


def test_a_bad_line_says_what_to_do(tmp_path: Path) -> None:
    source = _write(tmp_path / "in.jsonl", json.dumps(RAW).encode("utf-16"))
    with pytest.raises(UserError, match=r"in\.jsonl:1: not_utf8: the bytes are no UTF-8; .*iconv"):
        convert([source], tmp_path / "out")


KILLED = """
import os, signal, sys
from pathlib import Path
from pivot.trajectory.convert import convert
def die(report, position):
    if report.records == 150:
        os.kill(os.getpid(), signal.SIGKILL)
convert([Path(sys.argv[1])], Path(sys.argv[2]), validation=0.5, progress=die)
"""


def test_a_killed_run_leaves_the_earlier_files_whole_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    texts = [_chat({"role": "user", "content": f"{number} " * 500}, HELLO) for number in range(200)]
    source, out = _write(tmp_path / "in.jsonl", *texts), tmp_path / "out"
    convert([source], out, validation=0.5)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(source), str(out)], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    left = [path for path in out.iterdir() if path.name.endswith(".tmp")]
    assert len(left) == 3
    assert {path.name: path.read_bytes() for path in out.iterdir() if path not in left} == before
    convert([source], out, validation=0.5)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_what_another_writer_still_writes_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    (tmp_path / ".rows.1-2.tmp").write_text("left by a killed one")
    with atomic_write(path) as file:
        remove_leftovers(path)
        assert len(list(tmp_path.iterdir())) == 1
        file.write("whole")
    assert [found.name for found in tmp_path.iterdir()] == ["rows"]
    assert path.read_text() == "whole"


def _real(name: str, tmp_path: Path, tools: str | None = None) -> ConvertReport:
    if not (SHARED / name).exists():
        pytest.skip(f"no real trajectories at {SHARED / name}")
    return convert([SHARED / name], tmp_path / "out", tools_path=SHARED / tools if tools else None)


def test_real_tau_bench_results(tmp_path: Path) -> None:
    report = _real("tau_bench/gpt-4o-airline.json", tmp_path, "tau_bench/tools_airline.json")
    assert (report.trajectories, report.turns, report.candidates) == (200, 2454, 2446)
    assert report.skipped == {"duplicate": 8}
    assert report.bad_rows == {}
    assert report.kinds == {"message": 1282, "function_call": 1164}
    found = list(load_candidates(tmp_path / "out" / "candidates.jsonl"))
    assert len({c.task_id for c in found}) == 50  # four trials each


def test_real_tau2_chat_trajectories_read_back(tmp_path: Path) -> None:
    report = _real("tau2_sft/train.jsonl", tmp_path)
    assert (report.trajectories, report.turns, report.candidates) == (37, 492, 458)
    assert report.skipped == {"duplicate": 34}  # the greeting is the same in every trajectory of a domain
    assert report.kinds == {"message": 262, "function_call": 163, "function_call_batch": 33}
    loaded = list(load_candidates(tmp_path / "out" / "candidates.jsonl"))
    assert len({c.candidate_id for c in loaded}) == 458


def test_every_real_file_converts(tmp_path: Path) -> None:
    report = _real(".", tmp_path)
    assert report.bad_rows == {"unknown_format": 72}  # the tools in the tools_*.json files
    assert (report.trajectories, report.rows, report.turns) == (334, 30, 4185)
    assert report.skipped["call_not_recorded"] == 538
    assert report.skipped["history_without_calls"] == 500
    assert report.turns == report.candidates + report.skipped.total()
    assert report.formats["swe_agent"] == {"trajectories": 4, "turns": 39, "candidates": 39}
    for candidate in load_candidates(tmp_path / "out" / "candidates.jsonl"):
        assert from_row(to_row(candidate)) == candidate
