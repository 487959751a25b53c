"""Mining on real ranks that are killed at random instants, and jobs that share a store: the profiles are the same."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE, STDOUT

import pytest

from pivot.demo.run import CHECKPOINT
from tests.system.running import ROOT, children, command, pivot, zombie


def arguments(demo: Path, out: Path, *more: str) -> list[str]:
    """Mine the demo's candidates into `out`; a write every other candidate: many instants to be killed at."""
    return [
        "mine", "--config", "demo", f"model.path={CHECKPOINT}", f"run.dir={out}", "mine.wave=2",
        f"data.candidates={demo / 'data/train/candidates.jsonl'}", f"data.pivots={out / 'pivots.jsonl'}",
        f"mine.store={out / 'mine'}", *more,
    ]  # fmt: skip


def records(out: Path) -> list[bytes]:
    """Every line of every shard, sorted: a record that is there twice, or in part, shows."""
    return sorted(line for path in (out / "mine").glob("shard-*.jsonl") for line in path.read_bytes().splitlines(True))


def same(out: Path, whole: Path, candidates: Path, limit: int | None = None) -> None:
    """Byte for byte the records and pivots that a run which nothing interrupted has of the first candidates."""
    ids = {json.loads(row)["pivot"]["candidate_id"] for row in lines(candidates)[:limit]}
    ours, theirs = records(out), [line for line in records(whole) if json.loads(line)["record"]["candidate_id"] in ids]
    assert len(ours) == len(ids)
    assert ours == theirs
    pivots = [row for row in lines(whole / "pivots.jsonl") if json.loads(row)["pivot"]["candidate_id"] in ids]
    assert lines(out / "pivots.jsonl") == pivots


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def kill_somewhere(what: Sequence[str], out: Path, new: int, source: random.Random) -> bool:
    """Start mining and SIGKILL its launcher or a rank; False when it ended before that.

    The instant is random: some milliseconds after `new` records were written, or any time, start-up included, for 0.
    """
    process = subprocess.Popen(
        command(*what), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    begun_with, start = len(records(out)), time.monotonic()
    patience = 600.0 if new else source.uniform(0, 20)
    while process.poll() is None and time.monotonic() - start < patience:
        if new and len(records(out)) - begun_with >= new:
            break
        time.sleep(0.005)
    time.sleep(source.uniform(0, 0.05))
    ranks = children(process.pid) if process.poll() is None else []
    if process.poll() is None:
        try:
            os.kill(source.choice([process.pid, *ranks]), signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
    status = process.wait()
    while any(Path(f"/proc/{rank}").exists() and not zombie(rank) for rank in ranks):
        assert time.monotonic() - start < 600, "ranks outlived their launcher"
        time.sleep(0.02)
    return status != 0


def test_a_kill_and_two_jobs_that_share_the_store_change_nothing(demo: Path, tmp_path: Path) -> None:
    source, limit = random.Random(1), "data.limit=60"
    assert kill_somewhere(arguments(demo, tmp_path, limit), tmp_path, source.randint(2, 6), source)
    assert 2 <= len(records(tmp_path)) < 60
    jobs = []
    for index in range(2):
        more = ("parallel.ranks=1", f"mine.shard={index}/2", f"run.dir={tmp_path / str(index)}")
        own = command(*arguments(demo, tmp_path, limit, *more))
        jobs.append(subprocess.Popen(own, cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True))
    said = [job.communicate(timeout=600)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum("so nothing is selected yet" in text for text in said) <= 1  # the job that ends last selects
    same(tmp_path, demo, demo / "data/train/candidates.jsonl", 60)


@pytest.mark.slow
def test_thirty_kills_change_nothing(demo: Path, tmp_path: Path) -> None:
    source, counts, killed, whole = random.Random(2), [], tmp_path / "killed", tmp_path / "whole"
    while len(counts) < 30 and kill_somewhere(arguments(demo, killed), killed, source.randint(0, 12), source):
        counts.append(len(records(killed)))
    for run in (killed, whole):
        done = pivot(*arguments(demo, run))
        assert done.returncode == 0, done.stdout + done.stderr
    print("records after each kill:", counts, "of", len(records(whole)))
    assert len(counts) == 30
    same(killed, whole, demo / "data/train/candidates.jsonl")


def test_a_finished_store_is_selected_from_anew_without_an_engine(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "mine", tmp_path / "mine")
    # No engine could start with this cache.
    done = pivot(*arguments(demo, tmp_path, "data.limit=160", "mine.select=tau_as_run", "mine.max_mean=0.5",
                            "mine.per_trajectory=1", "parallel.ranks=1", "rollout.kv_cache_mb=0"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(tmp_path) == records(demo)
    rows = [json.loads(line)["pivot"] for line in lines(tmp_path / "pivots.jsonl")]
    assert rows
    assert max(row["profile"]["mean"] for row in rows) <= 0.5
    assert len({row["trajectory_id"] for row in rows}) == len(rows)
    shown = pivot("explain", rows[0]["candidate_id"][:12], "--store", tmp_path / "mine", "--candidates",
                  demo / "data/train/candidates.jsonl", "--pivots", tmp_path / "pivots.jsonl")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "kept: it is a pivot" in shown.stdout
    assert "rule tau_as_run asks for: mean <= 0.5; caps: per_trajectory 1" in " ".join(shown.stdout.split())
