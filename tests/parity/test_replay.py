"""Router replay: given routes are taken, in every layout, and the rest is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.errors import UserError
from pivot.layout import Layout
from tests.parity.conftest import Reference, loss_weights
from tests.parity.launch import launch
from tests.parity.replay_reference import MISSING, Sequences, file_gradients, own_routes, score
from tests.parity.test_shared_prefix import groups, worst

WORKERS = Path(__file__).with_name("replay_workers.py")
CASES: list[tuple[Layout, dict[str, Any]]] = [  # on 4 ranks; what a layout does not cut is data parallel
    (Layout(), {}),
    (Layout(tensor=2), {}),  # sequence parallel, as every MoE with tensor > 1
    (Layout(pipeline=2), {"recompute": "full"}),
    (Layout(expert=2), {}),
    (Layout(pipeline=2, virtual_pipeline=2), {}),
    (Layout(tensor=2, pipeline=2, expert=2), {}),
    (Layout(tensor=2, pipeline=2, expert=2, virtual_pipeline=2), {"recompute": "full"}),
    (Layout(tensor=2, context=2, expert=2), {"recompute": "selective"}),
]
WITHOUT: tuple[Layout, dict[str, Any]] = (Layout(), {"router_replay": False})
NAMES = [
    f"tp{x.tensor}-pp{x.pipeline}x{x.virtual_pipeline or 1}-cp{x.context}-ep{x.expert}-"
    f"{options.get('recompute', 'keep')}"
    for x, options in CASES
]
SHORT = [0, 6, 7]
NUMBERED = [pytest.param(i, marks=() if i in SHORT else pytest.mark.slow, id=name) for i, name in enumerate(NAMES)]
every_layout = pytest.mark.parametrize("index", NUMBERED)
EXPERTS = 8


@pytest.fixture(scope="module")
def model(moe: Reference) -> Any:
    from transformers import Qwen3MoeForCausalLM

    return Qwen3MoeForCausalLM.from_pretrained(moe.path).eval()


@pytest.fixture(scope="module")
def ways(model: Any) -> dict[str, list[list[tuple[Tensor, tuple[Tensor, ...], Tensor | None]]]]:
    """Name -> micro-batches of (history, actions, routes).

    ``own``: the policy's own choices, with the two experts of a token in the other order; ``moved``: those with the
    experts of each layer renamed by a permutation; ``holes``: half of these rows missing.
    """
    generator = torch.Generator().manual_seed(4)
    renamed = torch.stack([torch.randperm(EXPERTS, generator=generator) for _ in model.model.layers])
    made: dict[str, list[Any]] = {"none": [], "own": [], "moved": [], "holes": []}
    for batch in groups():
        kinds: dict[str, list[Any]] = {name: [] for name in made}
        for history, actions in batch:
            whole = [own_routes(model, torch.cat([history, action])[:-1]) for action in actions]
            count = history.numel()
            own = torch.cat([whole[0][:count], *(rows[count:] for rows in whole)])
            layers = torch.arange(len(renamed))[None, :, None]
            moved = renamed[layers, own.long()].to(torch.int16)
            gone = torch.rand(moved.shape[:2], generator=generator) < 0.5
            routes = {"none": None, "own": own.flip(-1), "moved": moved, "holes": moved.clone()}
            routes["holes"][gone] = MISSING
            for name, kind in kinds.items():
                kind.append((history, actions, routes[name]))
        for name, kind in kinds.items():
            made[name].append(kind)
    return made


@pytest.fixture(scope="module")
def expected(model: Any, ways: Any) -> dict[str, dict[str, Any]]:
    """Hugging Face with the same routes, a copy of the history for each action."""
    found = {}
    for name in ("none", "moved", "holes"):
        model.zero_grad()
        loss, logprobs = torch.zeros(()), []
        for index, batch in enumerate(ways[name]):
            logprobs.append(score(model, sequences(batch), 0.7)[0].detach())
            exact, entropy = score(model, sequences(batch))
            weight = loss_weights(exact.numel(), index)
            loss = loss - (weight * exact).sum() + 0.1 * (weight * entropy).sum()
        loss.backward()
        found[name] = {"logprobs": torch.cat(logprobs), "gradients": file_gradients(model)}
    return found


def sequences(batch: list[tuple[Tensor, tuple[Tensor, ...], Tensor | None]]) -> Sequences:
    flat: Sequences = []
    for history, actions, routes in batch:
        lengths = [history.numel(), *(action.numel() - 1 for action in actions)]
        first, *parts = [None] * len(lengths) if routes is None else routes.split(lengths)
        for action, part in zip(actions, parts, strict=True):
            flat.append((history, action, None if part is None else torch.cat([first, part])))
    return flat


@pytest.fixture(scope="module")
def results(moe: Reference, ways: Any, whole: bool) -> list[dict[int, dict[str, Any]]]:
    """What each rank returned: number of the case -> ways; -1 is the one without replay."""
    numbers = [*(range(len(CASES)) if whole else SHORT), -1]
    cases = [WITHOUT if i < 0 else CASES[i] for i in numbers]
    returned = launch(WORKERS, "replays", 4, path=moe.path, ways=ways, copied="moved", cases=cases)
    return [dict(zip(numbers, rank, strict=True)) for rank in returned]


@every_layout
def test_the_policys_own_routes_change_no_bit(results: Any, index: int) -> None:
    for rank in results:
        plain, own = rank[index]["none"], rank[index]["own"]
        assert torch.equal(plain["logprobs"], own["logprobs"])
        assert torch.equal(plain["entropy"], own["entropy"])
        assert all(torch.equal(own["gradients"][name], gradient) for name, gradient in plain["gradients"].items())
        assert plain["norm"] == own["norm"]


@every_layout
def test_other_experts_are_those_of_hugging_face_with_the_same(
    results: Any, expected: dict[str, dict[str, Any]], index: int
) -> None:
    for rank in results:
        for way, reference in (("moved", "moved"), ("replicated", "moved"), ("holes", "holes"), ("none", "none")):
            found = rank[index][way]
            assert (found["logprobs"] - expected[reference]["logprobs"]).abs().max() < 1e-5, way
            assert worst(found["gradients"], expected[reference]["gradients"]) < 1e-4, way


def test_other_experts_are_far_from_the_policys_own(expected: dict[str, dict[str, Any]]) -> None:
    """So that the test above fails where routes, or the missing ones among them, are not minded."""
    plain, moved, holes = (expected[name]["logprobs"] for name in ("none", "moved", "holes"))
    for one, other in ((plain, moved), (plain, holes), (moved, holes)):
        assert (one - other).abs().mean() > 0.1


def test_a_policy_without_replay_ignores_routes(results: Any) -> None:
    for rank in results:
        without, plain = rank[-1], rank[0]["none"]
        for way in ("none", "own", "moved", "holes"):
            assert torch.equal(without[way]["logprobs"], plain["logprobs"])
        assert (without["moved"]["logprobs"] - rank[0]["moved"]["logprobs"]).abs().mean() > 0.1


def test_a_dense_model_refuses_replay(others: dict[str, Reference]) -> None:
    from pivot.policy import Policy, initialize

    initialize(Layout(), seed=1)
    with pytest.raises(UserError, match=r"grpo\.router_replay is true, but a qwen3 model has no experts"):
        Policy.from_hf(others["qwen3"].path, Layout(), optimizer=None, router_replay=True)
