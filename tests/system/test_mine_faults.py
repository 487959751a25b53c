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


def arguments(data: Path, out: Path, *more: str) -> list[str]:
    """Mine `data` into `out`; every wave is a write, so there are many instants to be killed at."""
    return [
        "mine", "--config", "demo", f"model.path={CHECKPOINT}", f"run.dir={out}", "mine.group_size=4", "mine.wave=2",
        f"data.candidates={data / 'candidates.jsonl'}", f"data.pivots={out / 'pivots.jsonl'}",
        f"mine.store={out / 'store'}", *more,
    ]  # fmt: skip


def make(out: Path, trajectories: int) -> Path:
    """Candidates of so many trajectories, and what an uninterrupted run on 2 ranks makes of them, in `reference`."""
    done = pivot("world", "trajectories", out / "train.jsonl", "--count", str(trajectories))
    assert done.returncode == 0, done.stderr
    assert pivot("convert", out / "train.jsonl", "--out", out).returncode == 0
    done = pivot(*arguments(out, out / "reference"))
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("mine"), 12)


def records(out: Path) -> list[bytes]:
    """Every line of every shard, sorted: a record that is there twice, or in part, shows."""
    lines = [line for path in (out / "store").glob("shard-*.jsonl") for line in path.read_bytes().splitlines(True)]
    return sorted(lines)


def same(out: Path, reference: Path) -> None:
    """The same records byte for byte, the same pivots, the same summary but for what the last run computed."""
    assert records(out) == records(reference)
    assert (out / "pivots.jsonl").read_bytes() == (reference / "pivots.jsonl").read_bytes()
    ours, theirs = (json.loads((each / "store" / "mine.json").read_text()) for each in (out, reference))
    assert ours | {"prefill": None} == theirs | {"prefill": None}


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


def torture(data: Path, out: Path, kills: int, seed: int) -> list[int]:
    """Kill so many runs, then let one end; returns how many records were there after each kill."""
    source, counts = random.Random(seed), []
    for _ in range(kills):
        if not kill_somewhere(arguments(data, out), out, source.randint(0, 6), source):
            break
        counts.append(len(records(out)))
    done = pivot(*arguments(data, out))
    assert done.returncode == 0, done.stdout + done.stderr
    return counts


def test_two_kills_and_two_jobs_that_share_the_store_change_nothing(mined: Path, tmp_path: Path) -> None:
    source = random.Random(1)
    assert kill_somewhere(arguments(mined, tmp_path), tmp_path, source.randint(1, 6), source)
    assert kill_somewhere(arguments(mined, tmp_path), tmp_path, source.randint(1, 6), source)
    assert 2 <= len(records(tmp_path)) < len(records(mined / "reference"))
    jobs = []
    for index in range(2):
        own = arguments(
            mined, tmp_path, "parallel.ranks=1", f"mine.shard={index}/2", f"run.dir={tmp_path / str(index)}"
        )
        jobs.append(subprocess.Popen(command(*own), cwd=ROOT, stdout=PIPE, stderr=STDOUT, text=True))
    said = [job.communicate(timeout=600)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    assert sum("so nothing is selected yet" in text for text in said) <= 1  # the job that ends last selects
    same(tmp_path, mined / "reference")


@pytest.mark.slow
def test_thirty_kills_change_nothing(tmp_path: Path) -> None:
    data = make(tmp_path, 60)
    counts = torture(data, tmp_path / "killed", kills=30, seed=2)
    print("records after each kill:", counts, "of", len(records(data / "reference")))
    assert len(counts) == 30
    same(tmp_path / "killed", data / "reference")


def test_a_finished_store_is_selected_from_anew_without_an_engine(mined: Path, tmp_path: Path) -> None:
    shutil.copytree(mined / "reference", tmp_path / "run")
    out = tmp_path / "run"
    # No engine could start with this cache.
    done = pivot(*arguments(mined, out, "mine.select=tau_as_run", "mine.max_mean=0.5", "mine.per_trajectory=1",
                            "parallel.ranks=1", "rollout.kv_cache_mb=0"))  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert records(out) == records(mined / "reference")
    rows = [json.loads(line)["pivot"] for line in (out / "pivots.jsonl").read_text().splitlines()]
    assert rows
    assert max(row["profile"]["mean"] for row in rows) <= 0.5
    assert len({row["trajectory_id"] for row in rows}) == len(rows)
    shown = pivot("explain", rows[0]["candidate_id"][:10], "--store", out / "store", "--candidates",
                  mined / "candidates.jsonl", "--pivots", out / "pivots.jsonl")  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert "kept: it is a pivot" in shown.stdout
    assert "rule tau_as_run asks for: mean <= 0.5; caps: per_trajectory 1" in " ".join(shown.stdout.split())
