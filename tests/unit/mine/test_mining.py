"""The loop: what is stored depends on seeds alone, adaptive profiling stores a beginning of the same samples."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pivot.mine.adaptive import Plan, outcome
from pivot.mine.groups import Turn, sample_seed
from pivot.mine.mining import mine
from pivot.mine.select import rule
from pivot.mine.store import Shard, StoredProfile, StoredSample, merged, prepare
from pivot.rollout.placement import Placement
from pivot.rollout.replica import Replica
from tests.unit.mine.fakes import ANY, SCORER, FakeEngine, turns

TURNS = turns(20)
FULL = Plan((8,), rule("paper"))


def run(
    store: Path, plan: Plan, engine: FakeEngine, todo: Sequence[Turn] = TURNS, wave: int = 6
) -> list[StoredProfile]:
    prepare(store, {})
    with Shard(store, "shard-0.jsonl", {}) as shard:
        mine(todo, engine, shard, SCORER, plan, wave=wave, seed=5, sampling=ANY, progress=lambda: None)
    return list(merged(store, [turn.candidate.candidate_id for turn in TURNS]))


def test_every_sample_is_stored_with_its_verdict(tmp_path: Path) -> None:
    engine = FakeEngine(share=40, none=20)
    found = run(tmp_path, FULL, engine)
    assert [item.candidate_id for item in found] == [turn.candidate.candidate_id for turn in TURNS]
    for turn, item in zip(TURNS, found, strict=True):
        seed = sample_seed(5, turn.candidate.candidate_id)
        verdicts = {"good": (1.0, "match", ("case",)), "bad": (0.0, "differs", ()),
                    "none": (None, "judge_unreachable", ())}  # fmt: skip
        said = [engine.say(seed + i).text for i in range(8)]
        wanted = [(text, *verdicts[text.split()[0]]) for text in said]
        assert item.samples == tuple(StoredSample(text, reward, why, 2, used) for text, reward, why, used in wanted)
    assert sum(item.profile().errors for item in found) > 0


def test_waves_of_turns_change_nothing_but_the_writes(tmp_path: Path) -> None:
    engine = FakeEngine()
    assert run(tmp_path / "a", FULL, engine, wave=6) == run(tmp_path / "b", FULL, engine, wave=20)
    assert engine.calls == [(6, 8), (6, 8), (6, 8), (2, 8), (20, 8)]


@pytest.mark.parametrize("chosen", [rule("paper"), rule("paper", max_mean=0.6), rule("tau_as_run")],
                         ids=["paper", "below 0.6", "tau"])  # fmt: skip
def test_adaptive_samples_are_the_first_ones_and_decide_the_same(tmp_path: Path, chosen: object) -> None:
    plan = Plan((2, 4, 2), chosen)
    engine = FakeEngine(share=20)
    full = run(tmp_path / "full", FULL, FakeEngine(share=20))
    short = run(tmp_path / "adaptive", plan, engine)
    for long, item in zip(full, short, strict=True):
        assert item.samples == long.samples[: len(item.samples)]
        assert outcome(item.profile().rewards, chosen) == outcome(long.profile().rewards, chosen)
    drawn = [len(item.samples) for item in short]
    assert set(drawn) <= {2, 6, 8}
    assert 6 in drawn
    assert sum(count * n for count, n in engine.calls) == sum(drawn) < 8 * len(TURNS)


def test_a_settled_candidate_stops_even_if_it_might_change(tmp_path: Path) -> None:
    engine = FakeEngine(share=0)
    found = run(tmp_path, Plan((4, 4), rule("paper"), error_rate=0.5, prior=0.1), engine)
    assert [len(item.samples) for item in found] == [4] * 20
    assert sum(count * n for count, n in engine.calls) == 80


def test_a_restart_stores_the_same_records(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", FULL, FakeEngine())
    run(tmp_path / "parts", FULL, FakeEngine(), TURNS[:7])
    assert run(tmp_path / "parts", FULL, FakeEngine(), TURNS[7:], wave=3) == whole


class First(Replica):
    """The first rank of two: keeps what it tells the other."""

    def __init__(self) -> None:
        self.placement = Placement.of(0, 2, tensor=2)
        self.said: list[list[list[StoredSample]]] = []

    def from_first(self, value: Any) -> Any:
        self.said.append(value)
        return value


class Second(Replica):
    """The other one: has nothing to say and hears the same."""

    def __init__(self, said: list[list[list[StoredSample]]]) -> None:
        self.placement = Placement.of(1, 2, tensor=2)
        self.said = iter(said)

    def from_first(self, value: Any) -> Any:
        assert not value
        return next(self.said)


def test_ranks_of_a_replica_go_on_alike_by_the_verdicts_of_the_first(tmp_path: Path) -> None:
    plan = Plan((4, 4), rule("paper"))
    first, other = FakeEngine(share=20, replica=First()), FakeEngine(share=20)
    stored = run(tmp_path, plan, first)
    other.replica = Second(first.replica.said)  # type: ignore[attr-defined]
    mine(TURNS, other, None, replace(SCORER, parse=never), plan, wave=6, seed=5, sampling=ANY, progress=lambda: None)
    assert other.calls == first.calls
    assert stored == run(tmp_path / "alone", plan, FakeEngine(share=20))


def never(*_: Any) -> Any:
    raise AssertionError("only the first rank verifies")
