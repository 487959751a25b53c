"""The store loses at most what a kill cut short, and never yields a wrong record."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.errors import UserError
from pivot.mine.store import (
    Shard,
    StoredProfile,
    StoredSample,
    decode_line,
    done_ids,
    encode_line,
    merged,
    prepare,
)

PRINT = {"weights_sha": "aa", "verifier_sha": "bb", "sampling": {"temperature": 1.0, "top_p": 1.0}, "seed": 0}


def _record(name: str, *rewards: float) -> StoredProfile:
    return StoredProfile(name, tuple(StoredSample(f"text of {name}", r, "match" if r else "no", 7) for r in rewards))


RECORDS = [_record("one", 1.0, 0.0), _record("two", 0.0), _record("thrée\n\ud800}", 1.0)]


def _all(directory: Path, names: list[str]) -> list[StoredProfile]:
    return list(merged(directory, names))


def _names(records: list[StoredProfile]) -> list[str]:
    return [record.candidate_id for record in records]


def test_records_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        shard.append(RECORDS[:2])
        shard.append(RECORDS[2:])
        shard.append([])
    assert done_ids(tmp_path) == set(_names(RECORDS))
    assert _all(tmp_path, [*_names(RECORDS)[::-1], "absent"]) == RECORDS[::-1]
    item = RECORDS[0].profile()
    assert (item.mean, item.variance, item.reasons) == (0.5, 0.25, {"match": 1, "no": 1})


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert done_ids(tmp_path / "absent") == set()
    assert _all(tmp_path / "absent", ["one"]) == []


def test_truncation_at_every_byte_loses_only_what_lies_behind_it(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    lines = [encode_line(record) for record in RECORDS]
    whole = b"".join(lines)
    ends = [len(b"".join(lines[:count])) for count in range(len(lines) + 1)]
    path = tmp_path / "shard-0.jsonl"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        survivors = RECORDS[: max(count for count, end in enumerate(ends) if end <= length)]
        assert _all(tmp_path, _names(RECORDS)) == survivors


@pytest.mark.parametrize("cut", [1, 2, 60, -1])
def test_opening_cuts_the_tail_so_that_the_next_record_is_whole(tmp_path: Path, cut: int) -> None:
    prepare(tmp_path, PRINT)
    lines = [encode_line(record) for record in RECORDS]
    path = tmp_path / "shard-0.jsonl"
    path.write_bytes(lines[0] + lines[1][:cut])
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        assert path.read_bytes() == lines[0]
        shard.append(RECORDS[2:])
    assert path.read_bytes() == lines[0] + lines[2]
    assert _all(tmp_path, _names(RECORDS)) == [RECORDS[0], RECORDS[2]]


@given(st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=200)
def test_a_flipped_byte_is_never_read_as_a_record(position: int, flip: int) -> None:
    line = bytearray(encode_line(RECORDS[0]))
    line[position % len(line)] ^= flip
    assert decode_line(bytes(line)) is None


@given(st.binary(max_size=200))
def test_junk_is_no_record(data: bytes) -> None:
    assert decode_line(data) is None


SAMPLES = st.builds(
    StoredSample, st.text(max_size=20), st.none() | st.floats(0, 1), st.text(max_size=5), st.integers(0, 99),
    st.lists(st.text(max_size=5), max_size=2).map(tuple),
)  # fmt: skip


@given(st.builds(StoredProfile, st.text(max_size=9), st.lists(SAMPLES, max_size=4).map(tuple)))
def test_a_line_reads_back_as_the_record(record: StoredProfile) -> None:
    line = encode_line(record)
    assert decode_line(line) == record
    assert line.count(b"\n") == 1


def test_damage_in_the_middle_costs_only_that_record(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    lines = [encode_line(record) for record in RECORDS]
    (tmp_path / "shard-0.jsonl").write_bytes(lines[0] + b"\0" * 30 + b"\n" + lines[2])
    with Shard(tmp_path, "shard-0.jsonl", PRINT):
        pass
    assert _all(tmp_path, _names(RECORDS)) == [RECORDS[0], RECORDS[2]]


def test_shards_of_any_number_of_ranks_are_read_together(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    for rank, record in zip((0, 3, 11), RECORDS, strict=True):
        with Shard(tmp_path, f"shard-{rank}.jsonl", PRINT) as shard:
            shard.append([record])
    with Shard(tmp_path, "shard-11.jsonl", PRINT) as shard:  # a later run has this candidate on another rank
        shard.append([_record("one", 0.0)])
    assert _all(tmp_path, _names(RECORDS)) == RECORDS


def test_another_fingerprint_is_refused_naming_what_differs(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    prepare(tmp_path, dict(reversed(PRINT.items())))
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        shard.append(RECORDS)
    with pytest.raises(UserError) as caught:
        prepare(tmp_path, PRINT | {"weights_sha": "cc", "extra": 1})
    message = str(caught.value)
    assert "weights_sha was 'aa', is 'cc'" in message
    assert "extra was None, is 1" in message
    assert "seed" not in message
    assert "mine.stale=redo" in message
    assert done_ids(tmp_path) == set(_names(RECORDS))


OTHER = PRINT | {"weights_sha": "cc"}


def test_redo_sets_stale_profiles_aside_and_keeps_them(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        shard.append(RECORDS)
    (tmp_path / "mine.json").write_text("{}")
    assert prepare(tmp_path, PRINT, redo=True) is None  # they are not stale
    assert prepare(tmp_path, OTHER, redo=True) == tmp_path / "stale-1"
    assert done_ids(tmp_path) == set()
    assert done_ids(tmp_path / "stale-1") == set(_names(RECORDS))
    assert sorted(path.name for path in (tmp_path / "stale-1").iterdir()) == [
        "manifest.json", "mine.json", "shard-0.jsonl"]  # fmt: skip
    assert prepare(tmp_path, OTHER, redo=True) is None
    assert prepare(tmp_path, PRINT, redo=True) == tmp_path / "stale-2"


def test_redo_goes_on_after_a_kill_half_way(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    for name in ("shard-0.jsonl", "shard-1-0.jsonl"):
        with Shard(tmp_path, name, PRINT) as shard:
            shard.append(RECORDS)
    (tmp_path / "stale-1").mkdir()
    (tmp_path / "shard-0.jsonl").rename(tmp_path / "stale-1" / "shard-0.jsonl")  # the kill came here
    assert prepare(tmp_path, OTHER, redo=True) == tmp_path / "stale-1"
    assert sorted(path.name for path in (tmp_path / "stale-1").iterdir()) == [
        "manifest.json", "shard-0.jsonl", "shard-1-0.jsonl"]  # fmt: skip


def test_profiles_that_a_job_still_writes_are_not_moved(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        with pytest.raises(UserError, match="another process mines into this file"):
            prepare(tmp_path, OTHER, redo=True)
        shard.append(RECORDS)
    assert done_ids(tmp_path) == set(_names(RECORDS))
    prepare(tmp_path, OTHER, redo=True)
    with pytest.raises(UserError, match="by a job that started meanwhile"):  # prepared before the redo, opens after it
        Shard(tmp_path, "shard-0.jsonl", PRINT)


def test_jobs_that_start_together_agree_on_one_manifest(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    prints = [PRINT | {"seed": number % 2} for number in range(8)]
    workers = [context.Process(target=_prepare_and_exit, args=(tmp_path, each)) for each in prints]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(worker.exitcode for worker in workers) == [0] * 4 + [2] * 4
    winner = json.loads((tmp_path / "manifest.json").read_text())["seed"]
    assert {each["seed"] for each, worker in zip(prints, workers, strict=True) if worker.exitcode == 0} == {winner}


def _prepare_and_exit(directory: Path, fingerprint: dict[str, object]) -> None:
    try:
        prepare(directory, fingerprint)
    except UserError:
        os._exit(2)
    os._exit(0)


def test_damaged_or_missing_manifests_are_refused(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        shard.append(RECORDS)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        prepare(tmp_path, PRINT)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(UserError, match="without a manifest"):
        prepare(tmp_path, PRINT)


def test_unwritable_folders_are_one_line_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare(tmp_path / "file" / "store", PRINT)
    with pytest.raises(UserError, match="cannot be opened"):
        Shard(tmp_path / "absent", "shard-0.jsonl", PRINT)


def test_a_shard_has_one_writer_at_a_time(tmp_path: Path) -> None:
    prepare(tmp_path, PRINT)
    with (
        Shard(tmp_path, "shard-0.jsonl", PRINT),
        pytest.raises(UserError, match="another process mines into this file"),
    ):
        Shard(tmp_path, "shard-0.jsonl", PRINT)
    Shard(tmp_path, "shard-0.jsonl", PRINT).close()


def test_a_full_disk_stops_cleanly_after_the_last_whole_wave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, PRINT)
    write = os.write

    def half_then_full(handle: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[: len(data) - 50])

    with Shard(tmp_path, "shard-0.jsonl", PRINT) as shard:
        shard.append(RECORDS[:1])
        monkeypatch.setattr(os, "write", half_then_full)
        with pytest.raises(UserError, match=r"No space left on device.*run the same command again"):
            shard.append(RECORDS[1:])
        monkeypatch.undo()
        assert done_ids(tmp_path) == {"one"}
        shard.append(RECORDS[1:])
    assert _all(tmp_path, _names(RECORDS)) == RECORDS


_LIMITED = """
import resource, sys
from pathlib import Path
from pivot.errors import UserError
from pivot.mine.store import Shard, StoredProfile, StoredSample
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
with Shard(Path(sys.argv[1]), "shard-0.jsonl", {"seed": 0}) as shard:
    try:
        for wave in range(100):
            samples = (StoredSample("x" * 3000, 1.0, "match", 1),)
            shard.append([StoredProfile(f"{wave}-{k}", samples) for k in range(4)])
            print(wave, flush=True)
    except UserError as error:
        sys.exit(str(error))
"""


def test_a_real_write_error_stops_cleanly_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """The kernel refuses to let the file grow, in the middle of a wave; what is left are the waves before."""
    prepare(tmp_path, {"seed": 0})
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot be written (File too large); make room and run the same command again" in done.stderr
    waves = [int(line) for line in done.stdout.split()]
    assert waves == [0, 1, 2]
    whole = (tmp_path / "shard-0.jsonl").read_bytes()
    assert [decode_line(line + b"\n") is not None for line in whole.splitlines()] == [True] * 12
    with Shard(tmp_path, "shard-0.jsonl", {"seed": 0}) as shard:
        shard.append([_record("next", 1.0)])
    assert done_ids(tmp_path) == {f"{wave}-{k}" for wave in waves for k in range(4)} | {"next"}


_WRITER = """
import sys
from pathlib import Path
from pivot.mine.store import Shard, StoredProfile, StoredSample
with Shard(Path(sys.argv[1]), "shard-0.jsonl", {"seed": 0}) as shard:
    for wave in range(10**6):
        samples = (StoredSample("x" * 5000, 1.0, "match", 1),)
        shard.append([StoredProfile(f"{wave}-{k}", samples) for k in range(4)])
        print(wave, flush=True)
"""


def test_a_killed_writer_leaves_every_wave_that_it_reported(tmp_path: Path) -> None:
    prepare(tmp_path, {"seed": 0})
    root = Path(__file__).resolve().parents[3]
    for _ in range(3):
        command = [sys.executable, "-c", _WRITER, str(tmp_path)]
        with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            reported = [process.stdout.readline().strip() for _ in range(5)]
            process.kill()
            reported += process.stdout.read().split()
        assert {f"{wave}-{k}" for wave in reported for k in range(4)} <= done_ids(tmp_path)
