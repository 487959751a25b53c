"""Groups without variance carry no gradient: which others are drawn in their place, and when sampling is enough.

A step has `wanted` pivots of its own and, behind them, spare ones. In *waves*, the step's own are drawn first, then as
many spare ones as groups with variance are missing, until there are none missing or no spare ones left. With an *early
stop* all are offered to the engines at once, and each gives up the rest as soon as it has its share of groups with
variance. Both are functions of the groups that come back; what is kept from step to step is in `pivot.train.reuse`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pivot.mine.groups import Group, Sampled, Scorer, Turn, verify


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn for a step.

    Attributes:
        groups: All that were drawn whole.
        batch: Those to train on: all with variance, and others only where there are not enough; in the order drawn.
        offered: Pivots that were given to the engines, the whole of it also where they were not finished.
        waves: How often the engines were asked.
    """

    groups: list[Group]
    batch: list[Group]
    offered: int
    waves: int


def in_waves(turns: Sequence[Turn], wanted: int, sample: Callable[[Sequence[Turn]], list[Group]]) -> Draw:
    """The step's own pivots, the first `wanted` of `turns`, then spare ones for groups without variance."""
    groups = sample(turns[:wanted])
    offered, waves = min(wanted, len(turns)), 1
    while offered < len(turns) and (short := wanted - varied(groups)) > 0:
        part = turns[offered : offered + short]
        groups = [*groups, *sample(part)]
        offered, waves = offered + len(part), waves + 1
    return Draw(groups, chosen(groups, wanted), offered, waves)


def at_once(turns: Sequence[Turn], wanted: int, sample: Callable[[Sequence[Turn]], list[Group]]) -> Draw:
    """All pivots in one wave, of which `sample` returns those that it has finished."""
    groups = sample(turns)
    return Draw(groups, chosen(groups, wanted), len(turns), 1)


def varied(groups: Sequence[Group]) -> int:
    """How many groups have rewards that differ."""
    return sum(not group.uniform for group in groups)


def chosen(groups: Sequence[Group], wanted: int) -> list[Group]:
    """At most `wanted` groups: the first with variance, made up with the first without; in their order."""
    order = sorted(range(len(groups)), key=lambda i: (groups[i].uniform, i))
    return [groups[i] for i in sorted(order[:wanted])]


class Quota:
    """Verifies groups as an engine finishes them, until so many have variance."""

    def __init__(self, turns: Sequence[Turn], quota: int, scorer: Scorer) -> None:
        self._turns = turns
        self._quota = quota
        self._scorer = scorer
        self._done: dict[int, Group] = {}

    def __call__(self, index: int, samples: Sequence[Sampled]) -> bool:
        """Takes the samples of a turn; whether the others may be given up."""
        [self._done[index]] = verify([self._turns[index]], [samples], self._scorer)
        return varied(self.groups) >= self._quota

    @property
    def groups(self) -> list[Group]:
        """Those that were finished, in the order of the turns."""
        return [group for _, group in sorted(self._done.items())]


def draw_stats(draw: Draw, wanted: int, aborted_tokens: int, version: str) -> dict[str, float]:
    """`draw/…`: what sampling a step took, and what came to nothing.

    Args:
        draw: of all ranks.
        wanted: pivots of the step's own.
        aborted_tokens: generated for pivots that were given up, by all ranks.
        version: of the weights; tokens that older ones sampled are no tokens of this step.
    """
    kept = {id(group) for group in draw.batch}
    wasted = [group for group in draw.groups if id(group) not in kept]
    return {
        "draw/groups": len(draw.groups),
        "draw/varied": varied(draw.batch),
        "draw/refilled": max(0, draw.offered - wanted),
        "draw/wasted": len(wasted),
        "draw/aborted": draw.offered - len(draw.groups),
        "draw/waves": draw.waves,
        "draw/tokens": tokens(draw.groups, version) + aborted_tokens,
        "draw/tokens_wasted": tokens(wasted, version),
        "draw/tokens_aborted": aborted_tokens,
    }


def tokens(groups: Sequence[Group], version: str) -> int:
    """Tokens that weights of this version sampled."""
    samples = [sample for group in groups for sample in group.samples]
    return sum(len(sample.token_ids) - older_tokens(sample, version) for sample in samples)


def older_tokens(sample: Sampled, version: str) -> int:
    """Tokens of a sample that weights of other versions sampled."""
    if sample.weight_version != version:
        return len(sample.token_ids)
    return sum(count for _, count in sample.older)
