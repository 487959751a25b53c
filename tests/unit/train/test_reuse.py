"""Partial reuse on an engine that counts: which tokens are trained on, how old they are, and that none are lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pivot.attempt.running import Running
from pivot.mine.groups import Turn
from pivot.rollout import Completion, Placement, Sampling
from pivot.rollout.begun import NOTHING, Begun
from pivot.swap import SwapError
from pivot.train.loader import PivotLoader
from pivot.train.memory import State
from pivot.train.module import PivotModule
from pivot.train.refill import older_tokens
from pivot.train.reuse import Reuse
from tests.unit.train.test_refill import SCORER, turn

SAMPLING = Sampling(1.0, 1.0, 12)
TURNS = [turn(f"pivot {i:02}") for i in range(20)]
ALONE = Running(None, hang_after=None, deadline=None)


class Engine:
    """A token a tick for every sample; a sample with seed s has 3 + s % 9 tokens, and is right when s is even."""

    def __init__(self) -> None:
        self.placement = Placement()
        self.version = "0"
        self.aborted_tokens = self.sampled = 0
        self.left: dict[int, list[Begun]] = {}

    def forget_prefixes(self) -> None:
        pass

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        n: int,
        sampling: Sampling,
        enough: Callable[[int, list[Completion]], bool],
        give_up: Any,
        begun: Mapping[int, Sequence[Begun]],
    ) -> list[list[Completion]]:
        samples = {i: list(begun.get(i, [NOTHING] * n)) for i in range(len(prompts))}
        start = {i: [len(one.token_ids) for one in group] for i, group in samples.items()}
        groups: list[list[Completion]] = [[] for _ in prompts]
        stop = False
        while samples and not stop:
            for i, group in list(samples.items()):
                for k, one in enumerate(group):
                    if one.finish_reason is None:
                        group[k] = self.tick(one, 3 + (seeds[i] + k) % 9)
                if all(one.finish_reason for one in group):
                    groups[i] = [self.completion(one, (seeds[i] + k) % 2 == 0) for k, one in enumerate(samples.pop(i))]
                    stop |= enough(i, groups[i])
        self.left = samples
        self.aborted_tokens += sum(len(one.token_ids) for group in samples.values() for one in group)
        self.aborted_tokens -= sum(sum(start[i]) for i in samples)
        return groups

    def tick(self, one: Begun, length: int) -> Begun:
        self.sampled += 1
        tokens, spans = len(one.token_ids) + 1, dict(one.spans)
        spans[self.version] = spans.get(self.version, 0) + 1
        reason = "stop" if tokens >= length else None
        return Begun((7,) * tokens, (-0.1 * tokens,) * tokens, tuple(spans.items()), reason)

    def completion(self, one: Begun, right: bool) -> Completion:
        *older, (version, _) = one.spans
        return Completion(one.token_ids, one.logprobs, str(int(right)), "stop", version, tuple(older))


class Run:
    """Steps of a module with this engine, from a state on."""

    def __init__(self, steps: int, at: int = 0, waiting: str | None = None) -> None:
        self.engine = Engine()
        self.reuse = Reuse(TURNS, steps, 2, SAMPLING)
        if waiting is not None:
            self.reuse.load_state_dict(json.loads(waiting))
        settings: Any = SimpleNamespace(seed=3, prompts=4, early_stop=True, group_size=2, sampling=SAMPLING)
        memory: Any = SimpleNamespace(state=State.GENERATING)
        parts: Any = (None, None, self.engine, memory, None, None, SCORER, None, settings, self.reuse, ALONE)
        self.module = PivotModule(*parts)
        self.loader = PivotLoader(TURNS, batch=4, steps=12, seed=5, spare=6)
        self.at = at

    def step(self, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[str, float], list[Turn]]:
        at, self.at = self.at, self.at + 1
        self.engine.version = str(at)
        monkeypatch.setattr(PivotModule, "global_step", property(lambda _: at))
        turns = self.loader.at(at)
        draw, stats = self.module.draw(turns, at)
        return draw, stats, turns

    @property
    def state(self) -> str:
        """As a checkpoint has it: JSON, with sorted keys."""
        return json.dumps(self.reuse.state_dict(), sort_keys=True)


def test_every_token_is_counted_once_and_none_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    run, kept, reused = Run(1), 0, 0
    for step in range(12):
        before = run.engine.sampled
        draw, stats, turns = run.step(monkeypatch)
        drawn = [sample for group in draw.groups for sample in group.samples]
        assert draw.offered == len(turns) == 10
        assert stats["draw/tokens"] == run.engine.sampled - before
        assert stats["draw/tokens_reused"] == sum(older_tokens(sample, str(step)) for sample in drawn)
        whole = sum(len(sample.token_ids) for sample in drawn)
        new = stats["draw/tokens"]
        assert kept + new == whole + stats["draw/tokens_kept"] + stats["draw/tokens_expired"]
        for sample in drawn:
            ages = [step - int(version) for version, _ in (*sample.older, (sample.weight_version, 0))]
            assert set(ages) <= {0, 1}
        kept, reused = stats["draw/tokens_kept"], reused + stats["draw/tokens_reused"]
    assert kept > 0
    assert reused > 0


def test_more_steps_waste_fewer_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    expired = []
    for steps in (1, 3):
        run = Run(steps)
        expired.append(sum(run.step(monkeypatch)[1]["draw/tokens_expired"] for _ in range(12)))
    assert expired[0] >= expired[1]
    assert sum(expired) > 0


@pytest.mark.parametrize("at", [1, 4, 9])
def test_a_resumed_run_goes_on_with_the_same_samples(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    whole = Run(2)
    for _ in range(at):
        whole.step(monkeypatch)
    resumed = Run(2, at, whole.state)
    assert json.loads(whole.state)["waiting"]
    for _ in range(at, 12):
        ours, stats, _ = whole.step(monkeypatch)
        theirs, same, _ = resumed.step(monkeypatch)
        assert ours.groups == theirs.groups
        assert stats == same
    assert whole.state == resumed.state


def test_what_waits_comes_before_other_spare_pivots_and_never_twice() -> None:
    reuse = Reuse(TURNS, 1, 2, SAMPLING)
    one = Begun((1,), (0.0,), (("3", 1),), None)
    reuse.keep({name: [one, NOTHING] for name in ("pivot 09", "pivot 01", "pivot 04")} | {"pivot 08": [NOTHING] * 2})
    turns = [TURNS[i] for i in (0, 1, 2, 5, 4, 6, 7)]
    offered = reuse.offer(turns, 3, 4)
    assert offered == [TURNS[i] for i in (0, 1, 2, 4, 9, 5, 6)]
    assert reuse.begun(offered) == {1: [one, NOTHING], 3: [one, NOTHING], 4: [one, NOTHING]}
    assert reuse.offer(turns, 3, 5) == turns  # a step later they are too old
    assert reuse.begun(turns) == {}


def test_only_first_tokens_that_are_too_old_are_thrown_away() -> None:
    reuse = Reuse(TURNS, 2, 3, SAMPLING)
    old, new = Begun((1, 2), (0.0, 0.0), (("3", 1), ("5", 1)), None), Begun((3,), (0.0,), (("4", 1),), "stop")
    reuse.keep({"pivot 01": [old, new, NOTHING]})
    reuse.offer(TURNS[:1], 1, 6)
    assert reuse.begun(TURNS[:2]) == {1: [NOTHING, new, NOTHING]}
    assert reuse.stats([], 6)["draw/tokens_expired"] == 2


def test_a_state_of_other_sampling_or_other_pivots_is_left() -> None:
    reuse = Reuse(TURNS, 1, 1, SAMPLING)
    reuse.keep({"pivot 01": [Begun((1,), (0.5,), (("3", 1),), None)]})
    state = json.loads(json.dumps(reuse.state_dict()))
    for turns, steps, size, sampling, begun in (
        (TURNS, 1, 1, SAMPLING, 1),
        (TURNS[2:], 1, 1, SAMPLING, 0),
        (TURNS, 0, 1, SAMPLING, 0),
        (TURNS, 1, 2, SAMPLING, 0),
        (TURNS, 1, 1, Sampling(0.9, 1.0, 12), 0),
    ):
        other = Reuse(turns, steps, size, sampling)
        other.load_state_dict(state)
        assert len(other.begun(TURNS)) == begun
    assert reuse.begun(TURNS)[1] == [Begun((1,), (0.5,), (("3", 1),), None)]


def test_without_reuse_nothing_waits_and_nothing_is_saved() -> None:
    reuse = Reuse(TURNS, 0, 1, SAMPLING)
    reuse.keep({"pivot 01": [Begun((1,), (0.0,), (("3", 1),), None)]})
    assert reuse.offer(TURNS[:5], 2, 4) == TURNS[:5]
    assert (reuse.begun(TURNS), reuse.stats([], 4), reuse.state_dict(), reuse.versions(4)) == ({}, {}, {}, [])


def test_a_missed_swap_is_still_found(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(1)
    run.step(monkeypatch)
    monkeypatch.setattr(PivotModule, "global_step", property(lambda _: 1))  # the engine is still at 0
    with pytest.raises(SwapError, match="version '0', the policy is at '1': the engine missed a swap"):
        run.module.draw(run.loader.at(1), 1)
