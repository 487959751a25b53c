"""Routes of samples become routes of packs, and what a step says of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pivot.policy import PackedGroup
from pivot.rollout.routes import MISSING, Routes
from pivot.train.batches import Packing, pack, scored_rows
from pivot.train.replay import missing_routes, pack_routes, replay_gap
from tests.unit.train.update_fakes import Sample, group

PROMPT = np.array([[[1]], [[2]]], np.int16)  # two tokens, one layer, one expert


def routed(*experts: int, logprob: float = -1.0) -> Sample:
    """A sample of one token more than experts: the last is never put into the model."""
    length = len(experts) + 1
    rows = np.array(experts, np.int16).reshape(-1, 1, 1)
    return Sample((4,) * length, (logprob,) * length, routes=Routes(PROMPT, rows))


def test_a_pack_has_the_prompts_routes_once_and_then_each_samples() -> None:
    rows = scored_rows([group([routed(3, 5), routed(), routed(7)], [1, 0, 1])])
    [shared] = pack(rows, [0, 1, 2], Packing(100, shared=True))
    assert shared.routes is not None
    assert shared.routes.dtype == torch.int16
    assert shared.routes.flatten().tolist() == [1, 2, 3, 5, 7]
    apart = pack(rows, [0, 2], Packing(100, shared=False))
    assert [part.routes.flatten().tolist() for part in apart if part.routes is not None] == [[1, 2, 3, 5], [1, 2, 7]]
    [without] = pack(scored_rows([group([replace(routed(3), routes=None)], [1])]), [0], Packing(100))
    assert without.routes is None


def test_missing_routes_are_counted_where_there_are_any_routes() -> None:
    silent = group([replace(routed(3), routes=None)], [1])
    assert missing_routes([silent]) == missing_routes([]) == {}
    assert missing_routes([group([routed(3, MISSING), routed(5)], [1, 0]), silent]) == {"replay/missing": 1 / 5}


class Policy:
    """Says -2 of every token, and -1.5 where it has routes."""

    def __init__(self) -> None:
        self.seen: list[list[PackedGroup]] = []

    def logprobs(self, micro_batches: Any, *, temperature: float) -> list[tuple[Tensor, Tensor]]:
        assert temperature == 0.5
        self.seen += micro_batches
        [batch] = micro_batches
        values = [torch.full((one.scored,), -2.0 if one.routes is None else -1.5) for one in batch]
        return [(torch.cat(values), torch.zeros(0))]


def test_the_gap_is_measured_on_the_same_tokens_both_ways() -> None:
    groups = [group([], []), group([routed(3, logprob=-1.0), routed(9)], [1, 0]), group([routed(logprob=-1.7)], [1])]
    policy: Any = Policy()
    stats = replay_gap(policy, groups, 2, 0.5)
    assert stats == pytest.approx({
        "replay/gap_mean": (0.5 + 0.5 + 0.2) / 3,
        "replay/gap_max": 0.5,
        "replay/gap_mean_without": (1 + 1 + 0.3) / 3,
        "replay/gap_max_without": 1.0,
    })  # fmt: skip
    assert [[one.scored for one in batch] for batch in policy.seen] == [[2, 1], [2, 1]]
    assert replay_gap(policy, [group([replace(routed(3), routes=None)], [1])], 2, 0.5) == {}


def test_a_group_with_routes_gives_them_to_the_policy() -> None:
    assert pack_routes([replace(routed(3), routes=None)]) is None
    both = pack_routes([routed(3), routed(4, 5)])
    assert both is not None
    assert both.flatten().tolist() == [1, 2, 3, 4, 5]
