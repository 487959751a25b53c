"""Versions of samples, and who ranks what first."""

from __future__ import annotations

import math

import pytest
import torch

from pivot.rollout import Completion
from pivot.swap import SwapError, check_versions
from pivot.swap.probe import Expected, top1


def sample(version: str) -> Completion:
    return Completion((1,), (0.0,), "", "stop", version)


def test_samples_of_the_right_weights_pass() -> None:
    check_versions([], "3")
    check_versions([[sample("3"), sample("3")], [sample("3")]], "3")


def test_both_versions_are_named() -> None:
    with pytest.raises(SwapError, match="weights of version '1', '2', the policy is at '3'"):
        check_versions([[sample("2"), sample("3")], [sample("1")]], "3")


def test_top1_counts_tokens_that_the_policy_certainly_ranks_first() -> None:
    half = math.log(0.5)
    policy = [torch.tensor([half + 0.01, half - 0.01]), torch.tensor([-0.1, -0.2, -3.0])]
    assert top1(policy, [[1, 2], [1, 2, 3]]) == pytest.approx(2 / 3)
    assert top1(policy, [[1, 5], [1, 1, 9]]) == 1.0
    assert top1([torch.tensor([-1.0, -2.0])], [[1, 1]]) is None


def test_a_probe_reports_it() -> None:
    class Engine:
        def score_and_rank(self, sequences: object) -> list[tuple[list[float], list[int]]]:
            return [([-9.0, -0.1, -0.25], [7, 1, 2])]

    expected = Expected([[5, 6, 7, 8]], [2], [torch.tensor([-0.1, -0.2])])
    result = expected.compare(Engine())
    assert result.max_gap == pytest.approx(0.05)
    assert result.top1 == 0.5
    assert result.metrics() == {
        "probe_gap_max": result.max_gap, "probe_gap_mean": result.mean_gap, "probe_top1": 0.5
    }  # fmt: skip
    assert result.refused(0.06) is None
    assert "largest gap 0.05, limit 0.01" in str(result.refused(0.01))
    assert result.refused(1.0, 0.03) is None
    assert "mean 0.025 over 2 tokens, limit 0.02" in str(result.refused(1.0, 0.02))
