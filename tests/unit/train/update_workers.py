"""What the ranks of test_update_ranks run: one update of the embedded tiny MoE on made-up samples."""

from typing import Any

import torch

from pivot import ranks
from pivot.grpo.losses import Clip, Kl
from pivot.grpo.mismatch import Correction
from pivot.grpo.objective import Objective
from pivot.layout import Layout
from pivot.policy import OptimizerSettings, Policy, initialize
from pivot.train.batches import Packing
from pivot.train.update import Grpo, update
from tests.unit.train.update_fakes import Sample, group

PLACES = ("loss", "reward")


def made_up_groups(seed: int = 0) -> list[Any]:
    """Three ragged groups; the engine's logprobs are noise around those of a flat distribution."""
    generator = torch.Generator().manual_seed(seed)

    def one(length: int, finish: str = "stop") -> Sample:
        tokens = torch.randint(0, 256, (length,), generator=generator).tolist()
        return Sample(tuple(tokens), tuple((-6 + torch.randn(length, generator=generator)).tolist()), finish)

    return [
        group([one(3), one(7), one(2), one(5, "length")], [1, 0, "malformed:not_json", "over_long"]),
        group([one(4), one(4)], [1, 1]),
        group([one(6), one(1), one(9)], [0, 0.5, 1]),
    ]


def updates(path: str, layouts: list[Layout], budgets: list[int]) -> list[dict[str, Any]]:
    """Gradients, statistics and new weights for each layout, micro-batch size and place of the KL."""
    results = []
    for layout in layouts:
        initialize(layout, seed=1)
        reference = Policy.from_hf(path, layout, optimizer=None)
        for budget in budgets:
            for place in PLACES:
                policy = Policy.from_hf(path, layout, optimizer=OptimizerSettings(clip=0))
                kl = Kl(0.05, "k1" if place == "reward" else "k3", place)
                objective = Objective(Clip(0.2, 0.28), Correction("token_tis", 2.0), entropy=0.01, kl=kl)
                grpo = Grpo(
                    "leave_one_out", "group", objective, 0.9, Packing(budget, shared=budget % 2 == 0), -5.0, True
                )
                stats = update(policy, reference, made_up_groups(), grpo, 1e-3)
                gradients = {name: tensor.clone() for name, tensor in policy.hf_gradients()}
                results.append({"place": place, "stats": stats, "gradients": gradients if ranks.rank() == 0 else {}})
    return results
