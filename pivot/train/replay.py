"""Router replay in a step: the engine's routes into packs, and what replay does to the gap between both."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pivot.mine.groups import Group, Sampled
from pivot.policy import PackedGroup, Policy
from pivot.rollout.routes import missing_share


def pack_routes(samples: Sequence[Sampled]) -> Tensor | None:
    """Routes of a pack's rows, the prompt's once and then each sample's: [rows, layers, topk] int16; None: unknown."""
    routes = [sample.routes for sample in samples if sample.routes is not None]
    if not routes:
        return None
    return torch.from_numpy(np.concatenate([routes[0].prompt, *(one.generated for one in routes)]))


def missing_routes(groups: Sequence[Group]) -> dict[str, float]:
    """`replay/missing`: the share of input tokens and layers whose experts the engine did not say; nothing without."""
    found = [[sample.routes for sample in group.samples if sample.routes is not None] for group in groups]
    return {"replay/missing": missing_share(found)} if any(found) else {}


def replay_gap(policy: Policy, groups: Sequence[Group], count: int, temperature: float) -> dict[str, float]:
    """How far engine and policy are apart with replay and without, on the same tokens and weights; nothing without.

    Collective: every rank scores the first sample of each of the first `count` groups. Call it before the update.

    Args:
        policy: with the weights that the engine has sampled with.
        groups: the step's.
        count: how many of them.
        temperature: of sampling.

    Returns:
        `replay/gap_mean` and `_max`, of |difference of logprobs|; `replay/gap_mean_without` and `_max_without`.
    """
    rows = [(group.turn.prompt, group.samples[0]) for group in groups if group.samples][:count]
    if not any(sample.routes is not None for _, sample in rows):
        return {}
    engine = torch.tensor([logprob for _, sample in rows for logprob in sample.logprobs])
    stats: dict[str, float] = {}
    for suffix, replayed in (("", True), ("_without", False)):
        batch = [
            PackedGroup(
                torch.tensor(prompt), (torch.tensor(sample.token_ids),), pack_routes([sample]) if replayed else None
            )
            for prompt, sample in rows
        ]
        [(logprobs, _)] = policy.logprobs([batch], temperature=temperature)
        gap = (logprobs - engine).abs()
        stats |= {f"replay/gap_mean{suffix}": float(gap.mean()), f"replay/gap_max{suffix}": float(gap.max())}
    return stats
