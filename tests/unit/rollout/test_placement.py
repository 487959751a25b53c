"""How the world is cut into engine replicas."""

from types import SimpleNamespace

import pytest

from pivot.config import load
from pivot.errors import UserError
from pivot.preflight import check as preflight
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


@pytest.mark.parametrize("recipe", ["mine", "train", "evaluate"])
def test_replicas_are_checked_before_ranks_start(recipe: str) -> None:
    models = ["evaluate.models.base=pivot/world/tiny-moe"]
    with pytest.raises(UserError, match=r"2 ranks do not divide .* rollout.tensor 3 ranks"):
        preflight(recipe, load(None, ["rollout.tensor=3", *models]))
    preflight("evaluate", load(None, ["rollout.tensor=3", "evaluate.server=start", *models]))  # devices of a server


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.server=localhost:80", "'evaluate.server' is 'localhost:80': it must be null, start or an http"),
        ("rollout.sleep_level=3", "'rollout.sleep_level' is 3: it must be 0, 1 or 2"),
    ],
)
def test_values_that_no_placement_has(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(None, [override])


def test_a_judge_cannot_ask_an_engine_of_several_ranks() -> None:
    from pivot.rollout.chat import chat

    with pytest.raises(UserError, match=r"set rollout.tensor=1, or give the judge a url"):
        chat(SimpleNamespace(placement=Placement.of(0, 2, tensor=2)))  # type: ignore[arg-type]
