"""A probe shared out over data-parallel ranks and engines, played on one process rank by rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot import ranks
from pivot.rollout import Placement
from pivot.train import probing
from pivot.train.probing import Replicas, chosen, expect_shared

SEQUENCES = [([1, 2, 3], 1), ([4, 5], 1), ([6, 7, 8, 9], 2)]


def test_every_engine_gets_one_and_no_more_than_are_asked_for() -> None:
    assert chosen(SEQUENCES, 2, 1) == SEQUENCES[:2]
    assert chosen(SEQUENCES, 9, 1) == SEQUENCES
    assert chosen(SEQUENCES, 1, 3) == SEQUENCES
    assert chosen(SEQUENCES, 4, 5) == [*SEQUENCES, *SEQUENCES[:2]]
    assert chosen([], 4, 5) == []


def by_all(world: int, one: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each rank returns of a function with one `ranks.gather` in it."""
    parts: list[Any] = []

    def note(part: Any) -> Any:
        parts.append(list(part))
        raise InterruptedError

    monkeypatch.setattr(ranks, "gather", note)
    for rank in range(world):
        with pytest.raises(InterruptedError):
            one(rank)
    monkeypatch.setattr(ranks, "gather", lambda _: [item for part in parts for item in part])
    return [one(rank) for rank in range(world)]


class Policy:
    """Whose logprobs are minus the tokens, and which notes how many groups it computes."""

    def __init__(self) -> None:
        self.computed: list[int] = []

    def logprobs(self, micro_batches: Any, *, temperature: float = 1.0) -> list[tuple[Tensor, Tensor]]:
        [groups] = micro_batches
        self.computed.append(len(groups))
        tokens = torch.cat([action for group in groups for action in group.actions]).float()
        return [(-tokens, tokens * temperature)]


@pytest.mark.parametrize(("parts", "computed"), [(1, [3]), (2, [2, 1]), (4, [1, 1, 1, 1])])
def test_each_sequence_is_computed_by_one_part_of_the_policy(
    parts: int, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = Policy()
    monkeypatch.setattr(probing, "data_parallel_size", lambda: parts)

    def one(rank: int) -> Any:
        monkeypatch.setattr(probing, "data_parallel_rank", lambda: rank)
        return expect_shared(policy, SEQUENCES)  # type: ignore[arg-type]

    for expected in by_all(parts, one, monkeypatch):
        assert expected.sequences == [tokens for tokens, _ in SEQUENCES]
        assert [row.tolist() for row in expected.logprobs] == [[-2, -3], [-5], [-8, -9]]
    assert policy.computed[:parts] == computed


class Engine:
    """Whose logprobs are minus the tokens."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement

    def score_and_rank(self, sequences: list[list[int]]) -> list[tuple[list[float], list[int]]]:
        assert sequences, "an engine without a sequence is not probed"
        return [([-float(token) for token in tokens[1:]], [1] * (len(tokens) - 1)) for tokens in sequences]


@pytest.mark.parametrize(("world", "tensor"), [(1, 1), (2, 1), (3, 1), (2, 2), (4, 2)])
def test_each_sequence_is_scored_by_one_engine(world: int, tensor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [tokens for tokens, _ in SEQUENCES]

    def one(rank: int) -> Any:
        return Replicas(Engine(Placement.of(rank, world, tensor=tensor))).score_and_rank(asked)  # type: ignore[arg-type]

    for scores in by_all(world, one, monkeypatch):
        assert scores == Engine(Placement()).score_and_rank(asked)
