"""What a router does with routes, and which routes are refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import PackedGroup, initialize
from pivot.policy.packing import pack
from pivot.policy.replay import Replay, check_routes, forced

SCORES = torch.tensor([[0.1, 0.9, 0.4, 0.2], [2.0, 1.0, 3.0, 4.0], [0.0, 5.0, 1.0, 2.0]])
OWN = SCORES.topk(2).indices


def routes(*rows: tuple[int, int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int16)


def test_given_experts_come_with_their_own_scores_the_highest_first() -> None:
    values, chosen = forced(SCORES, OWN, routes((0, 3), (0, 1), (1, 2)))
    assert chosen.tolist() == [[3, 0], [0, 1], [1, 2]]
    assert torch.equal(values, SCORES.gather(1, chosen))


def test_a_row_without_all_its_experts_is_the_routers() -> None:
    values, chosen = forced(SCORES, OWN, routes((-1, -1), (0, 1), (0, -1)))
    assert chosen.tolist() == [OWN[0].tolist(), [0, 1], OWN[2].tolist()]
    assert torch.equal(values[[0, 2]], SCORES.topk(2).values[[0, 2]])


def test_gradients_reach_the_scores_of_the_given_experts_alone() -> None:
    scores = SCORES.clone().requires_grad_()
    values, _ = forced(scores, OWN, routes((0, 3), (1, 0), (2, 3)))
    (values * torch.tensor([[1.0, 2.0]])).sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[2, 0, 0, 1], [1, 2, 0, 0], [0, 0, 2, 1]]


def test_a_layer_takes_the_routes_of_the_pack_it_is_given() -> None:
    """Also when an older micro-batch comes back, as in recomputation, and when there are none."""
    from types import SimpleNamespace

    replay = Replay(1, sequence_parallel=False)

    def own_topk(scores: Tensor, topk: int, groups: int | None, group_topk: int | None) -> tuple[Tensor, Tensor]:
        top = scores.topk(topk)
        return top.values, top.indices

    first, second = torch.stack([routes((3, 3)), routes((0, 1))]), torch.stack([routes((3, 3)), routes((2, 0))])
    for pack_routes, wanted in ((first, [1, 0]), (second, [2, 0]), (None, [1, 2]), (first, [1, 0])):
        replay.before(None, (), {"packed_seq_params": SimpleNamespace(routes=pack_routes)})
        assert replay.get_replay_topk(SCORES[:1], 2, None, None, own_topk)[1].tolist() == [wanted]


def test_routes_that_are_not_the_models_are_refused() -> None:
    good = torch.zeros(5, 2, 3, dtype=torch.int16)
    check_routes(good, layers=2, topk=3, experts=4)
    check_routes(good - 1, layers=2, topk=3, experts=4)
    with pytest.raises(ValueError, match=r"\[2, 3\] layers and experts a token, not \[3, 2\]"):
        check_routes(good, layers=3, topk=2, experts=4)
    for wrong in (good + 4, good - 2):
        with pytest.raises(ValueError, match=r"an expert outside 0\.\.3"):
            check_routes(wrong, layers=2, topk=3, experts=4)


def group(history: int, actions: list[int], filled: bool) -> PackedGroup:
    count = history + sum(actions) - len(actions)
    rows = torch.arange(count * 2, dtype=torch.int16).view(count, 2, 1)
    tokens = [torch.zeros(n, dtype=torch.int64) for n in (history, *actions)]
    return PackedGroup(tokens[0], tuple(tokens[1:]), rows if filled else None)


def test_replicas_of_a_group_share_its_historys_routes() -> None:
    parts = group(2, [1, 3], filled=True).replicated()
    assert [part.routes[:, 0, 0].tolist() for part in parts if part.routes is not None] == [[0, 2], [0, 2, 4, 6]]


def test_routes_of_another_number_of_tokens_are_refused() -> None:
    history, action = torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ValueError, match="routes of 3 tokens in a group of 4 input tokens"):
        PackedGroup(history, (action,), torch.zeros(3, 1, 1, dtype=torch.int16))
    with pytest.raises(ValueError, match="int16"):
        PackedGroup(history, (action,), torch.zeros(4, 1, 1))


def test_a_pack_has_the_routes_of_its_rows_and_none_for_the_rest() -> None:
    initialize(Layout(), seed=0)
    packed = pack([group(2, [2], filled=False), group(1, [1, 2], filled=True)], multiple=8, vocab=4)
    assert packed.params.routes is not None
    assert packed.params.routes[:, :, 0].tolist() == [[-1, -1, -1, 0, 2, -1, -1, -1], [-1, -1, -1, 1, 3, -1, -1, -1]]
    assert pack([group(2, [2], filled=False)], multiple=8, vocab=4).params.routes is None
