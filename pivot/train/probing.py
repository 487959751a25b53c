"""A probe after a swap, shared out: every sequence is scored once by the policy and once by some engine."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pivot import ranks
from pivot.policy import PackedGroup, Policy, data_parallel_rank, data_parallel_size
from pivot.rollout import Engine
from pivot.shares import Shares
from pivot.swap import Expected, expect

Scored = tuple[list[int], int]
"""Token ids, and the position of the first one that a probe compares."""


def chosen(scored: Sequence[Scored], count: int, replicas: int) -> list[Scored]:
    """So many sequences of those there are, the first ones, and at least one for every engine replica.

    Where there are fewer than replicas, some go to several.
    """
    if not scored:
        return []
    return [scored[i % len(scored)] for i in range(max(replicas, min(count, len(scored))))]


def expect_shared(policy: Policy, scored: Sequence[Scored]) -> Expected:
    """What the policy says of the sequences, each of them computed by one data-parallel rank; collective."""
    sequences, starts = zip(*scored, strict=True)
    return expect(PolicyParts(policy), sequences, starts)


@dataclass(frozen=True, slots=True)
class PolicyParts:
    """The policy as a probe sees it (`pivot.swap.probe.Trainer`)."""

    policy: Policy

    def logprobs(
        self, micro_batches: list[list[PackedGroup]], *, temperature: float = 1.0
    ) -> list[tuple[Tensor, Tensor]]:
        """Of every group, in order, on every rank; a data-parallel rank without one computes the first again."""
        found = []
        for groups in micro_batches:
            first, step = data_parallel_rank(), data_parallel_size()
            own = list(range(first, len(groups), step)) or [0]
            [parts] = self.policy.logprobs([[groups[i] for i in own]], temperature=temperature)
            lengths = [sum(map(len, groups[i].actions)) for i in own]
            split = zip(own, *(part.split(lengths) for part in parts), strict=True)
            everyone = {index: scores for index, *scores in ranks.gather(list(split))}
            rows = [everyone[i] for i in range(len(groups))]
            found.append((torch.cat([row[0] for row in rows]), torch.cat([row[1] for row in rows])))
        return found


@dataclass(frozen=True, slots=True)
class Replicas:
    """All engines as a probe sees one (`pivot.swap.probe.Scorer`): each scores its share, everyone has all scores."""

    engine: Engine

    def score_and_rank(self, sequences: Sequence[list[int]]) -> list[tuple[list[float], list[int]]]:
        """As the engine's; collective."""
        shares = Shares.balanced([len(sequence) for sequence in sequences], self.engine.placement)
        return shares.gather(self.engine.score_and_rank(shares.own(sequences)))
