"""SIGKILL at random instants, between any two instructions: the records are the same, each once."""

import multiprocessing
import random
import time
from pathlib import Path

from pivot.mine.adaptive import Plan
from pivot.mine.mining import mine
from pivot.mine.order import split_contiguous
from pivot.mine.select import rule
from pivot.mine.shards import Part
from pivot.mine.store import Shard, done_ids, prepare
from tests.unit.mine.fakes import ANY, SCORER, FakeEngine, turns

TURNS = turns(120)
PLAN = Plan((2, 2), rule("paper"))
FORK = multiprocessing.get_context("fork")


def work(store: Path, index: int) -> None:
    """One of two jobs: what is left of its half, three candidates a write."""
    part = Part(index, 2)
    prepare(store, {"seed": 1})
    done = done_ids(store)
    own = [TURNS[i] for i in split_contiguous([1] * len(TURNS), 2)[index]]
    todo = [turn for turn in own if turn.candidate.candidate_id not in done]
    with Shard(store, part.file(0), {"seed": 1}) as shard:
        mine(todo, FakeEngine(none=10), shard, SCORER, PLAN, wave=3, seed=1, sampling=ANY, progress=lambda: None)


def lines(store: Path) -> list[bytes]:
    return sorted(line for path in store.glob("shard-*") for line in path.read_bytes().splitlines(True))


def test_thirty_kills_over_two_jobs_change_nothing(tmp_path: Path) -> None:
    for index in range(2):
        work(tmp_path / "whole", index)
    source, store = random.Random(3), tmp_path / "killed"
    kills = found = 0
    while kills < 30:
        jobs = [FORK.Process(target=work, args=(store, index)) for index in range(2)]
        for job in jobs:
            job.start()
        time.sleep(source.uniform(0.001, 0.03))
        victims = [job for job in jobs if job.is_alive()]
        for job in source.sample(victims, source.randint(0, len(victims))):
            job.kill()
            kills += 1
        for job in victims:
            job.kill()  # the rest, a moment later
            job.join()
        found = max(found, len(lines(store)))
        if len(done_ids(store)) == len(TURNS):  # they are fast: begin again, with what is left on disk cut short
            shards = sorted(store.glob("shard-*"))
            for path in shards:
                path.write_bytes(path.read_bytes()[: source.randrange(path.stat().st_size // 2)])
    for index in range(2):
        work(store, index)
    assert found > 0
    assert lines(store) == lines(tmp_path / "whole")
    assert done_ids(store) == {turn.candidate.candidate_id for turn in TURNS}
