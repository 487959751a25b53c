"""Reward statistics of a step, by hand; a verdict that is an error counts for nothing but itself."""

from dataclasses import dataclass

import pytest
import torch

from pivot.mine.groups import Group, Turn
from pivot.train.monitor import reward_stats
from pivot.trajectory import Action, Candidate
from pivot.verify import Verdict
from pivot.verify.types import ERROR


@dataclass(frozen=True)
class Sample:
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    text: str = ""
    finish_reason: str = "stop"
    weight_version: str = "0"
    routes: None = None


FAILED = Verdict(0.0, "judge_timeout", status=ERROR)


def make_group(*verdicts: Verdict) -> Group:
    turn = Turn(Candidate("id", "t", 0, 1, (), (), Action("x"), "tool_use", None, ""), (1, 2))
    return Group(turn, tuple(Sample((3,) * (n + 1)) for n in range(len(verdicts))), verdicts)


def verdicts(*rewards: float) -> list[Verdict]:
    return [Verdict(reward, "match" if reward else "name_mismatch:x") for reward in rewards]


def test_statistics_of_whole_groups() -> None:
    groups = [make_group(*verdicts(1, 0, 0, 0)), make_group(*verdicts(1, 1, 1, 1)), make_group(*verdicts(0, 0, 0, 0))]
    stats = reward_stats(groups)
    assert stats["reward_mean"] == pytest.approx(5 / 12)
    assert stats["reward_std"] == pytest.approx(torch.tensor([1.0, 0, 0, 0]).std(unbiased=False).item() / 3)
    assert [stats[f"groups/{kind}"] for kind in ("all0", "mixed", "all1")] == pytest.approx([1 / 3] * 3)
    assert stats["action_tokens"] == 2.5
    assert (stats["reasons/match"], stats["reasons/name_mismatch"]) == pytest.approx((5 / 12, 7 / 12))
    assert stats["verdict_errors"] == 0


def test_errors_are_left_out_of_rewards_and_counted() -> None:
    mixed = make_group(*verdicts(1, 0), FAILED, FAILED)
    assert mixed.rewards == (1.0, 0.0)
    assert [len(sample.token_ids) for sample, _ in mixed.scored] == [1, 2]
    assert not mixed.uniform
    assert make_group(*verdicts(1), FAILED).uniform
    silent = make_group(FAILED, FAILED)
    assert silent.uniform
    assert silent.rewards == ()
    stats = reward_stats([mixed, silent])
    assert (stats["reward_mean"], stats["groups/mixed"], stats["verdict_errors"]) == (0.5, 1.0, 4 / 6)
    assert reward_stats([silent])["reward_mean"] == 0.0
