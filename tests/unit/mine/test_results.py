"""The files that mining leaves behind."""

import json
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.mine.results import Prefill, select_all, write
from pivot.mine.select import Caps, rule
from pivot.mine.store import Shard, StoredProfile, StoredSample, prepare
from pivot.trajectory.rows import load_candidates
from tests.unit.mine.fakes import turns

TURNS = turns(4)
IDS = [turn.candidate.candidate_id for turn in TURNS]
REWARDS = {IDS[0]: [1.0, 0.0, None], IDS[1]: [0.0, 0.0, 0.0], IDS[2]: [1.0, 1.0], IDS[3]: [None, 1.0, None]}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    prepare(tmp_path / "store", {})
    with Shard(tmp_path / "store", "shard-0.jsonl", {}) as shard:
        shard.append(
            StoredProfile(name, tuple(StoredSample("t", reward, "why", 3) for reward in rewards))
            for name, rewards in REWARDS.items()
        )
    return tmp_path / "store"


def test_pivots_fates_and_counts(store: Path, tmp_path: Path) -> None:
    selected = select_all(store, TURNS, rule("paper"), Caps())
    write(tmp_path / "new" / "pivots.jsonl", store, TURNS, selected, {"group_size": 3}, {"skipped": {"x": 2}})
    (row,) = map(json.loads, (tmp_path / "new" / "pivots.jsonl").read_text().splitlines())
    assert row["pivot"]["profile"] == {
        "group_size": 3, "samples": 3, "rewards": [1.0, 0.0], "mean": 0.5, "variance": 0.25, "reasons": {"why": 3},
        "errors": 1,
    }  # fmt: skip
    assert [item.candidate_id for item in load_candidates(tmp_path / "new" / "pivots.jsonl")] == [IDS[0]]
    fates = [json.loads(line) for line in (store / "selection.jsonl").read_text().splitlines()]
    assert [(row["candidate_id"], row["fate"]) for row in fates] == list(
        zip(IDS, ["kept", "all0", "all1", "verdict_errors"], strict=True)
    )
    assert json.loads((store / "mine.json").read_text()) == {
        "candidates": 4, "all0": 1, "mixed": 1, "all1": 1, "no_verdict": 1, "selected": 1,
        "cut": {"all0": 1, "all1": 1, "verdict_errors": 1}, "samples": 11, "verdict_errors": 3, "skipped": {"x": 2},
    }  # fmt: skip


def test_a_file_that_cannot_be_written_is_one_line(store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    selected = select_all(store, TURNS, rule("paper"), Caps())
    with pytest.raises(UserError, match=r"pivots.jsonl: cannot be written \(.*run the same command again"):
        write(tmp_path / "file" / "pivots.jsonl", store, TURNS, selected, {}, {})


def test_the_ratio_of_prompt_tokens() -> None:
    assert Prefill(computed=110, distinct=100).ratio == 1.1
