"""From a step's groups to this rank's micro-batches: its scored actions, cut by length, packed for the policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from pivot.mine.groups import Group, Sampled
from pivot.policy import PackedGroup
from pivot.train.packing import plan, units
from pivot.train.replay import pack_routes
from pivot.verify import Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """An action of the step that has a verdict, with the number of its group."""

    group: int
    prompt: tuple[int, ...]
    sample: Sampled
    verdict: Verdict

    @property
    def length(self) -> int:
        """Tokens of the action."""
        return len(self.sample.token_ids)

    @property
    def malformed(self) -> bool:
        """The verifier could not read it as a call or a message: its reason is `malformed` or `malformed:why`."""
        return self.verdict.reason.split(":")[0] == "malformed"

    @property
    def over_long(self) -> bool:
        """It was cut off at the length limit (reason `over_long`)."""
        return self.sample.finish_reason == "length"


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one forward pass trains on; n counts the action tokens, in the order of groups and actions.

    Attributes:
        sampled: float [n], the engine's logprobs.
        advantages: float [n].
        weights: float [n], of the token's loss in the loss of the step.
        actions: int64 [n], the place of the token's action in this micro-batch, from 0.
    """

    sampled: Tensor
    advantages: Tensor
    weights: Tensor
    actions: Tensor


def scored_rows(groups: Sequence[Group]) -> list[Row]:
    """Every action with a verdict, in the order of the groups, the same on every rank."""
    return [
        Row(number, group.turn.prompt, sample, verdict)
        for number, group in enumerate(groups)
        for sample, verdict in group.scored
    ]


@dataclass(frozen=True, slots=True)
class Packing:
    """How actions are put together.

    Attributes:
        budget: Tokens wanted in one forward pass.
        shared: Forward a history once for all actions of its group; False copies it for each.
        pair_cost: What a pair of attention costs, in units of what a token costs outside it: ranks are levelled by it.
    """

    budget: int
    shared: bool = True
    pair_cost: float = 0.0


def cut(rows: Sequence[Row], kept: Sequence[int], packing: Packing, rank: int, ranks: int) -> list[list[int]]:
    """The micro-batches of data-parallel rank `rank` out of `ranks`: indices into `rows`, all from `kept`."""
    chosen = [rows[i] for i in kept]
    pieces = list(
        units(
            [len(row.prompt) for row in chosen],
            [row.length for row in chosen],
            [row.group for row in chosen],
            packing.budget,
            packing.shared,
        )
    )
    costs = [piece.cost(packing.pair_cost) for piece in pieces]
    mine = plan(costs, [piece.rows for piece in pieces], ranks, packing.budget)[rank]
    return [[kept[i] for number in part for i in pieces[number].actions] for part in mine]


def pack(rows: Sequence[Row], part: Sequence[int], packing: Packing) -> list[PackedGroup]:
    """The rows of a micro-batch as the policy takes them: the rows of a group behind one history."""
    together = groupby(part, key=(lambda i: rows[i].group) if packing.shared else (lambda i: i))
    groups = [list(indices) for _, indices in together]
    return [
        PackedGroup(
            torch.tensor(rows[indices[0]].prompt),
            tuple(torch.tensor(rows[i].sample.token_ids) for i in indices),
            pack_routes([rows[i].sample for i in indices]),
        )
        for indices in groups
    ]


def sampled_logprobs(rows: Sequence[Row], part: Sequence[int]) -> Tensor:
    """The engine's logprobs of the tokens of a micro-batch: float [n]."""
    return torch.tensor([logprob for i in part for logprob in rows[i].sample.logprobs])


def action_of_token(rows: Sequence[Row], part: Sequence[int]) -> Tensor:
    """The place in the micro-batch of each token's action: int64 [n]."""
    return torch.arange(len(part)).repeat_interleave(torch.tensor([rows[i].length for i in part], dtype=torch.int64))


def micro_batch(rows: Sequence[Row], part: Sequence[int], advantages: Tensor, weights: Tensor) -> MicroBatch:
    """A micro-batch with the advantages and weights of its tokens, given those of all rows as float [A]."""
    actions = action_of_token(rows, part)
    places = torch.tensor(part, dtype=torch.int64)[actions]
    return MicroBatch(sampled_logprobs(rows, part), advantages[places].float(), weights[places].float(), actions)
