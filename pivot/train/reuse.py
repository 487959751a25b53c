"""Partial reuse: samples that an early stop gave up half-way wait for the next step, which goes on with them.

Their pivots are the first of the next step's spare ones (or among its own already), and what was sampled counts: the
engine computes it like a prompt and samples the rest, under the new weights. A token keeps the logprob and the version
of the weights that sampled it, so the correction of the loss sees how far the policy has moved since. Tokens of more
steps ago than is allowed are thrown away.

Every rank knows what waits on all of them: the next step may share the pivots out otherwise, and a checkpoint holds it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import lightning.pytorch as pl

from pivot.mine.groups import Group, Turn
from pivot.rollout.begun import NOTHING, Begun
from pivot.rollout.types import Sampling
from pivot.train.refill import older_tokens


class Reuse(pl.Callback):
    """What waits for the next step. A callback only because Lightning saves and restores the state of one."""

    def __init__(self, turns: Sequence[Turn], steps: int, group_size: int, sampling: Sampling) -> None:
        """See the module.

        Args:
            turns: Every pivot of the run.
            steps: How many steps back a token may have been sampled; 0: nothing is kept.
            group_size: Samples of a pivot.
            sampling: How they are drawn; what was begun otherwise is of no use.
        """
        self._turns = {turn.candidate.candidate_id: turn for turn in turns}
        self._steps = steps
        self._drawn = {"group_size": group_size, **asdict(sampling)}
        self._waiting: dict[str, list[Begun]] = {}
        self._expired = 0

    def offer(self, turns: Sequence[Turn], wanted: int, step: int) -> list[Turn]:
        """The turns of a step, with those that wait before its other spare ones; as many as before."""
        self._expire(step)
        own = {turn.candidate.candidate_id for turn in turns[:wanted]}
        waiting = [self._turns[name] for name in sorted(self._waiting) if name not in own]  # as after a resume
        spare = [turn for turn in turns[wanted:] if turn.candidate.candidate_id not in self._waiting]
        return [*turns[:wanted], *waiting, *spare][: len(turns)]

    def begun(self, turns: Sequence[Turn]) -> dict[int, list[Begun]]:
        """By index, what there is of the samples of those turns that wait."""
        names = [turn.candidate.candidate_id for turn in turns]
        return {index: self._waiting[name] for index, name in enumerate(names) if name in self._waiting}

    def keep(self, left: Mapping[str, list[Begun]]) -> None:
        """What this step leaves, by candidate: all that waits from here on."""
        if self._steps:
            self._waiting = {name: samples for name, samples in left.items() if any(one.token_ids for one in samples)}

    def versions(self, step: int) -> list[str]:
        """Of older weights whose tokens this step may train on."""
        return [str(version) for version in range(max(0, step - self._steps), step)]

    def stats(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """`draw/…` of the groups that were drawn whole, and of what waits now; call it after `keep`."""
        if not self._steps:
            return {}
        reused = [count for group in groups for sample in group.samples if (count := older_tokens(sample, str(step)))]
        kept = [len(one.token_ids) for samples in self._waiting.values() for one in samples if one.token_ids]
        return {
            "draw/reused": len(reused),
            "draw/tokens_reused": sum(reused),
            "draw/kept": len(kept),
            "draw/tokens_kept": sum(kept),
            "draw/tokens_expired": self._expired,
        }

    def state_dict(self) -> dict[str, Any]:
        waiting = {name: [asdict(one) for one in samples] for name, samples in self._waiting.items()}
        return {"drawn": self._drawn, "waiting": waiting} if waiting else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What waited, unless it was drawn otherwise or its pivot is not in the data any more."""
        if not self._steps or state_dict["drawn"] != self._drawn:
            return
        self._waiting = {
            name: [read(one) for one in samples]
            for name, samples in state_dict["waiting"].items()
            if name in self._turns
        }

    def _expire(self, step: int) -> None:
        """Begins samples anew whose first tokens are of too old weights."""
        self._expired, oldest = 0, step - self._steps
        for name, samples in list(self._waiting.items()):
            old = [bool(one.spans) and int(one.spans[0][0]) < oldest for one in samples]
            self._expired += sum(len(one.token_ids) for one, gone in zip(samples, old, strict=True) if gone)
            fresh = [NOTHING if gone else one for one, gone in zip(samples, old, strict=True)]
            if any(one.token_ids for one in fresh):
                self._waiting[name] = fresh
            else:
                del self._waiting[name]


def read(saved: Mapping[str, Any]) -> Begun:
    """As `state_dict` wrote it and JSON left it."""
    return Begun(
        tuple(saved["token_ids"]),
        tuple(saved["logprobs"]),
        tuple((version, count) for version, count in saved["spans"]),
        saved["finish_reason"],
    )
