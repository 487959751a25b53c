"""A history forwarded once for all its actions gives what a copy for each would: every layout, ragged groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.layout import Layout
from tests.parity.conftest import VOCAB, Reference, loss_weights
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("prefix_workers.py")
# (history, action lengths) of the groups of each micro-batch: from one token to the longest, from 1 to 16 actions
SIZES: list[list[tuple[int, list[int]]]] = [
    [(24, [5] * 16)],
    [(1, [1]), (13, [1, 9, 2]), (6, [4, 1])],
    [(40, [12, 1, 1, 30]), (2, [3])],
    [(9, [1] * 8)],
]
CASES: dict[int, list[tuple[Layout, dict[str, Any]]]] = {
    1: [(Layout(), {}), (Layout(), {"recompute": "full"}), (Layout(), {"recompute": "selective"})],
    2: [
        (Layout(), {}),
        (Layout(tensor=2), {}),
        (Layout(pipeline=2), {}),
        (Layout(expert=2), {}),
        (Layout(tensor=2, expert=2), {"recompute": "full"}),
        (Layout(pipeline=2, virtual_pipeline=2), {}),
        (Layout(context=2), {}),
        (Layout(context=2, expert=2), {"recompute": "selective"}),
    ],
    4: [
        (Layout(tensor=2, pipeline=2, expert=2), {}),
        (Layout(tensor=2, context=2, expert=2), {}),
        (Layout(pipeline=2, context=2), {"recompute": "full"}),
        (Layout(context=4), {}),
    ],
}
SHORT = {1: [0, 2], 2: [4, 5, 7], 4: [0, 1]}
NAMES = [
    f"{ranks}ranks-tp{x.tensor}-pp{x.pipeline}x{x.virtual_pipeline or 1}-cp{x.context}-ep{x.expert}-"
    f"{options.get('recompute', 'keep')}"
    for ranks, cases in CASES.items()
    for x, options in cases
]
NUMBERED = [
    pytest.param(ranks, i, marks=() if i in SHORT[ranks] else pytest.mark.slow, id=name)
    for (ranks, i), name in zip(((r, i) for r, cases in CASES.items() for i in range(len(cases))), NAMES, strict=True)
]
every_case = pytest.mark.parametrize(("ranks", "index"), NUMBERED)


def groups() -> list[list[tuple[Tensor, tuple[Tensor, ...]]]]:
    generator = torch.Generator().manual_seed(11)

    def draw(count: int) -> Tensor:
        return torch.randint(0, VOCAB, (count,), generator=generator)

    return [[(draw(history), tuple(map(draw, actions))) for history, actions in batch] for batch in SIZES]


@pytest.fixture(scope="module")
def reference(moe: Reference) -> dict[str, Any]:
    """Hugging Face on the replicated batch."""
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(moe.path).eval()
    logprobs, loss = [], torch.zeros(())
    for index, batch in enumerate(groups()):
        scores, exact, entropies = [], [], []
        for history, actions in batch:
            for action in actions:
                logits = model(torch.cat([history, action])[None]).logits[0, history.numel() - 1 : -1]
                scores.append(torch.log_softmax(logits / 0.7, -1).gather(-1, action[:, None])[:, 0].detach())
                log = torch.log_softmax(logits, -1)
                exact.append(log.gather(-1, action[:, None])[:, 0])
                entropies.append(-(log.exp() * log).sum(-1))
        score, entropy = torch.cat(exact), torch.cat(entropies)
        weight = loss_weights(score.numel(), index)
        loss = loss - (weight * score).sum() + 0.1 * (weight * entropy).sum()
        logprobs += scores
    loss.backward()
    return {
        "logprobs": torch.cat(logprobs),
        "gradients": {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None},
    }


@pytest.fixture(scope="module")
def results(moe: Reference, whole: bool) -> dict[int, list[dict[int, dict[str, Any]]]]:
    """Ranks -> what each rank returned: number of the case -> both ways."""
    found = {}
    for ranks, cases in CASES.items():
        numbers = range(len(cases)) if whole else SHORT[ranks]
        chosen = [cases[i] for i in numbers]
        returned = launch(WORKERS, "both_ways", ranks, path=moe.path, micro=groups(), cases=chosen)
        found[ranks] = [dict(zip(numbers, rank, strict=True)) for rank in returned]
    return found


def worst(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Largest error over the largest gradient of the tensor."""
    assert ours.keys() == theirs.keys()
    return max(((ours[n] - theirs[n]).abs().max() / theirs[n].abs().max().clamp_min(1e-9)).item() for n in ours)


@every_case
def test_shared_equals_replicated(results: Any, ranks: int, index: int) -> None:
    for rank in results[ranks]:
        shared, replicated = rank[index]["shared"], rank[index]["replicated"]
        assert (shared["logprobs"] - replicated["logprobs"]).abs().max() < 1e-5
        assert (shared["entropy"] - replicated["entropy"]).abs().max() < 1e-5
        assert worst(shared["gradients"], replicated["gradients"]) < 1e-4
        assert shared["norm"] == pytest.approx(replicated["norm"], rel=1e-5)


@every_case
def test_both_equal_hugging_face_on_the_replicated_batch(
    results: Any, reference: dict[str, Any], ranks: int, index: int
) -> None:
    one_rank = results[1][0][0]["replicated"]["gradients"]
    for rank in results[ranks]:
        for way in ("shared", "replicated"):
            found = rank[index][way]
            assert (found["logprobs"] - reference["logprobs"]).abs().max() < 1e-5
            assert worst(found["gradients"], one_rank) < 1e-4
    names = reference["gradients"].keys() & one_rank.keys()
    assert {"model.layers.0.self_attn.q_proj.weight", "lm_head.weight", "model.embed_tokens.weight"} <= names
    assert worst({n: one_rank[n] for n in names}, {n: reference["gradients"][n] for n in names}) < 1e-4
