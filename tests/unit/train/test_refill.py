"""Which pivots a step draws, trains on and gives up: exact counts on samplers that follow a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pivot.attempt.running import Running
from pivot.mine.groups import Group, Turn
from pivot.rollout import Placement, Sampling
from pivot.train.loader import PivotLoader
from pivot.train.memory import State
from pivot.train.module import PivotModule
from pivot.train.refill import Quota, at_once, chosen, draw_stats, in_waves, varied
from pivot.train.reuse import Reuse
from pivot.trajectory import Action, Candidate
from pivot.verify import Verdict
from tests.unit.train.update_fakes import Sample


def turn(name: str) -> Turn:
    return Turn(Candidate(name, "t", 0, 1, (), (), Action("x"), "tool_use", None, ""), (1, 2))


def group(name: str) -> Group:
    """Two samples of 3 tokens; "+" in the name of the turn: one is right and one is wrong."""
    samples = (Sample((5, 5, 5), (0.0,) * 3),) * 2
    return Group(turn(name), samples, (Verdict(1.0, "match"), Verdict(float("+" not in name), "x")))


class Script:
    """A sampler that remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, turns: Sequence[Turn]) -> list[Group]:
        self.asked.append([each.candidate.candidate_id for each in turns])
        return [group(name) for name in self.asked[-1]]


def names(groups: Sequence[Group]) -> list[str]:
    return [each.turn.candidate.candidate_id for each in groups]


def waves(own: str, spare: str) -> tuple[Script, Any, dict[str, float]]:
    script, wanted = Script(), len(own.split())
    draw = in_waves([turn(name) for name in f"{own} {spare}".split()], wanted, script)
    return script, draw, draw_stats(draw, wanted, 0, "0")


def test_groups_without_variance_are_replaced_until_the_batch_is_full() -> None:
    script, draw, stats = waves("a+ b c d+", "e f+ g+ h+")
    assert script.asked == [["a+", "b", "c", "d+"], ["e", "f+"], ["g+"]]
    assert names(draw.groups) == ["a+", "b", "c", "d+", "e", "f+", "g+"]
    assert names(draw.batch) == ["a+", "d+", "f+", "g+"]
    assert stats == {
        "draw/groups": 7,
        "draw/varied": 4,
        "draw/refilled": 3,
        "draw/wasted": 3,
        "draw/aborted": 0,
        "draw/waves": 3,
        "draw/tokens": 42,
        "draw/tokens_wasted": 18,
        "draw/tokens_aborted": 0,
    }


def test_a_spent_budget_leaves_the_first_uniform_groups_in_their_places() -> None:
    script, draw, stats = waves("a b c+ d", "e f+ g")
    assert script.asked == [["a", "b", "c+", "d"], ["e", "f+", "g"]]
    assert names(draw.batch) == ["a", "b", "c+", "f+"]
    assert (stats["draw/varied"], stats["draw/refilled"], stats["draw/wasted"]) == (2, 3, 3)


def test_without_spare_pivots_or_without_need_there_is_one_wave() -> None:
    for own, spare in (("a b+ c", ""), ("a+ b+ c+", "d+ e")):
        script, draw, _ = waves(own, spare)
        assert script.asked == [own.split()]
        assert draw.batch == draw.groups
        assert names(draw.batch) == own.split()


def test_all_at_once_keeps_what_was_finished() -> None:
    turns = [turn(name) for name in ("a", "b+", "c", "d+", "e+")]
    draw = at_once(turns, 2, lambda asked: [group(name) for name in ("a", "b+", "d+")])
    assert names(draw.batch) == ["b+", "d+"]
    stats = draw_stats(draw, 2, aborted_tokens=5, version="0")
    assert (stats["draw/groups"], stats["draw/refilled"], stats["draw/wasted"], stats["draw/aborted"]) == (3, 3, 1, 2)
    assert (stats["draw/tokens"], stats["draw/tokens_wasted"], stats["draw/tokens_aborted"]) == (23, 6, 5)


def test_variance_decides_who_is_chosen_and_the_draw_in_which_order() -> None:
    groups = [group(name) for name in ("a", "b+", "c", "d+", "e+")]
    assert varied(groups) == 3
    assert [names(chosen(groups, wanted)) for wanted in (2, 4, 9)] == [
        ["b+", "d+"],
        ["a", "b+", "d+", "e+"],
        ["a", "b+", "c", "d+", "e+"],
    ]


class Right:
    """A verifier by the text of a sample: "1" is right."""

    threads = 1

    def __call__(self, actual: Any, expected: Any, context: Any) -> Verdict:
        return Verdict(float(actual == "1"), "match")


SCORER: Any = SimpleNamespace(
    parse=lambda text, tools: text, verifiers=SimpleNamespace(of=lambda domain: Right()), ask=None
)


def samples(*texts: str) -> list[Sample]:
    return [Sample((1,) * (1 + int(text)), (0.0,) * (1 + int(text)), text=text) for text in texts]


def test_a_quota_is_met_by_groups_with_variance_alone() -> None:
    quota = Quota([turn(name) for name in "abcd"], 2, SCORER)
    assert [quota(2, samples("0", "1")), quota(0, samples("1", "1")), quota(3, samples("1", "0"))] == [
        False,
        False,
        True,
    ]
    assert names(quota.groups) == ["a", "c", "d"]
    assert [each.rewards for each in quota.groups] == [(1, 1), (0, 1), (1, 0)]


ALONE = Running(None, hang_after=None, deadline=None)


class Engine:
    """Draws by seed: two samples, unlike ones in two of three cases. With `enough`, the last prompts end first."""

    def __init__(self) -> None:
        self.aborted_tokens = 0
        self.placement = Placement()
        self.seeds: list[list[int]] = []
        self.forgotten = 0
        self.left: dict[int, Any] = {}

    def forget_prefixes(self) -> None:
        self.forgotten += 1

    def sample(
        self,
        prompts: Any,
        seeds: list[int],
        n: int,
        sampling: Any,
        enough: Callable[[int, Any], bool] | None = None,
        give_up: Any = None,
        begun: Any = None,
    ) -> list[list[Sample]]:
        self.seeds.append(list(seeds))
        drawn = [samples("1", "0" if seed % 3 else "1") for seed in seeds]
        if enough is None:
            return drawn
        for index in reversed(range(len(seeds))):
            if enough(index, drawn[index]):
                self.aborted_tokens += 4 * index
                return [[] if i < index else group for i, group in enumerate(drawn)]
        return drawn


def module(early_stop: bool) -> tuple[PivotModule, Engine]:
    sampling = Sampling(1.0, 1.0, 8)
    settings: Any = SimpleNamespace(seed=3, prompts=4, early_stop=early_stop, group_size=2, sampling=sampling)
    engine: Any = Engine()
    memory: Any = SimpleNamespace(state=State.GENERATING)
    reuse = Reuse([], 0, 2, sampling)
    parts: Any = (None, None, engine, memory, None, None, SCORER, None, settings, reuse, ALONE)
    return PivotModule(*parts), engine


def loader(steps: int = 6) -> PivotLoader:
    return PivotLoader([turn(f"pivot {i}") for i in range(20)], batch=4, steps=steps, seed=5, spare=6)


@pytest.mark.parametrize("early_stop", [False, True])
def test_a_resumed_run_draws_what_the_other_would_have_drawn(early_stop: bool) -> None:
    def run(state: int, steps: int) -> tuple[list[Any], list[list[int]]]:
        turns = loader()
        turns.load_state_dict({"next_step": state})
        one, engine = module(early_stop)
        found = []
        for step, batch in zip(range(state, steps), turns, strict=False):
            draw, stats = one.draw(batch, step)
            found.append((names(draw.groups), names(draw.batch), stats))
        return found, engine.seeds

    whole, seeds = run(0, 6)
    first, before = run(0, 3)
    second, after = run(3, 6)
    assert first + second == whole
    assert before + after == seeds
    assert all(varied_count == 4 for varied_count in (stats["draw/varied"] for _, _, stats in whole))
    assert sum(stats["draw/refilled"] for *_, stats in whole) > 0


def test_an_early_stop_counts_what_it_gives_up_and_starts_from_an_empty_cache() -> None:
    one, engine = module(early_stop=True)
    for step, batch in enumerate(loader()):
        before = engine.aborted_tokens
        draw, stats = one.draw(batch, step)
        assert len(batch) == 10
        assert stats["draw/aborted"] == 10 - len(draw.groups)
        assert stats["draw/tokens_aborted"] == engine.aborted_tokens - before == 4 * stats["draw/aborted"]
        assert names(draw.groups) == [each.candidate.candidate_id for each in batch[10 - len(draw.groups) :]]
    assert engine.forgotten == 6


def test_spare_turns_are_others_and_leave_the_epochs_alone() -> None:
    turns: Any = list(range(9))
    plain = PivotLoader(turns, batch=4, steps=9, seed=2)
    spared = PivotLoader(turns, batch=4, steps=9, seed=2, spare=3)
    seen = set()
    for step in range(9):
        own, spare = spared.at(step)[:4], spared.at(step)[4:]
        assert own == plain.at(step)
        assert len(set(spare)) == 3
        assert not set(spare) & set(own)
        assert spared.at(step)[4:] == spare
        seen.add(tuple(spare))
    assert len(seen) > 5
    assert PivotLoader(turns, batch=4, steps=1, seed=2, spare=99).at(0)[4:] != []
    assert len(PivotLoader(turns, batch=4, steps=1, seed=2, spare=99).at(0)) == 9
