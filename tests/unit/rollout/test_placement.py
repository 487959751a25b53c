"""How the world is cut into engine replicas."""

import pytest

from pivot.errors import UserError
from pivot.rollout.placement import Placement, check


def test_neighbouring_ranks_are_a_replica() -> None:
    found = [Placement.of(rank, 4, tensor=2, expert_parallel=True) for rank in range(4)]
    assert found == [Placement(2, True, 2, replica, place) for replica, place in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert [list(place.ranks) for place in found] == [[0, 1], [0, 1], [2, 3], [2, 3]]
    assert [place.first for place in found] == [True, False, True, False]


def test_a_rank_alone_is_a_replica() -> None:
    assert Placement.of(0, 1) == Placement()
    assert Placement.of(2, 3) == Placement(1, False, 3, 2, 0)
    assert list(Placement.of(2, 3).ranks) == [2]


@pytest.mark.parametrize(
    ("world", "tensor", "expert_parallel", "message"),
    [
        (4, 0, False, "rollout.tensor is 0: it must be at least 1"),
        (4, 1, True, r"rollout.expert_parallel is true with rollout.tensor 1: .* needs rollout.tensor > 1"),
        (6, 4, False, r"6 ranks do not divide .* rollout.tensor 4 ranks: 6 = 1 x 4 \+ 2; start a multiple of 4"),
        (2, 4, True, r"2 = 0 x 4 \+ 2"),
    ],
)
def test_replicas_that_do_not_fit(world: int, tensor: int, expert_parallel: bool, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(world, tensor=tensor, expert_parallel=expert_parallel)
    with pytest.raises(UserError, match=message):
        Placement.of(0, world, tensor=tensor, expert_parallel=expert_parallel)
