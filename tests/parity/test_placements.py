"""Engines on one rank and on several: the same samples, the trainer's process untouched, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.launch import launch
from tests.parity.placement_workers import LENGTHS, N
from tests.parity.swap_checkpoint import make_checkpoint

WORK = Path(__file__).with_name("placement_workers.py")
CUTS = {1: [(1, False)], 2: [(1, False), (2, False), (2, True)], 4: [(2, True)]}
ALL = [(world, *cut) for world, cuts in CUTS.items() for cut in cuts]
Found = dict[tuple[int, int, bool], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    make_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def worlds(checkpoint: Path) -> dict[int, list[dict[str, Any]]]:
    return {
        world: launch(WORK, "placements", world, kind="engine", path=checkpoint, cuts=cuts)
        for world, cuts in CUTS.items()
    }


@pytest.fixture(scope="module")
def found(worlds: dict[int, list[dict[str, Any]]]) -> Found:
    """(world, ranks a replica, expert parallel) -> what each rank returned."""
    return {
        (world, *cut): [rank["cuts"][cut] for rank in worlds[world]] for world, cuts in CUTS.items() for cut in cuts
    }


def tokens(drawn: list[list[Any]]) -> list[list[tuple[int, ...]]]:
    return [[completion.token_ids for completion in group] for group in drawn]


@pytest.mark.parametrize("case", ALL[1:], ids=str)
@pytest.mark.parametrize("weights", ["first", "moved"])
def test_a_sample_depends_on_its_seed_alone_wherever_it_is_drawn(
    found: Found, case: tuple[int, int, bool], weights: str
) -> None:
    alone = tokens(found[1, 1, False][0][weights])
    assert len({ids for group in alone for ids in group}) == N * len(LENGTHS)
    for rank in found[case]:
        assert tokens(rank[weights]) == alone
        assert rank["alone"].token_ids == tokens(rank["first"])[0][2]


@pytest.mark.parametrize("case", ALL, ids=str)
def test_logprobs_are_hugging_faces_before_and_after_a_push(found: Found, case: tuple[int, int, bool]) -> None:
    for rank in found[case]:
        assert rank["gap"] < 1e-4
        assert rank["probe"] < 1e-4
        assert {c.weight_version for group in rank["moved"] for c in group} == {"moved"}


def test_a_push_changes_what_is_drawn(found: Found) -> None:
    assert tokens(found[1, 1, False][0]["first"]) != tokens(found[1, 1, False][0]["moved"])


def test_prompts_are_shared_by_replica_and_by_cost(found: Found) -> None:
    assert [rank["share"] for rank in found[2, 1, False]] == [[0, 3], [1, 2, 4]]
    assert [rank["share"] for rank in found[4, 2, True]] == [[0, 3], [0, 3], [1, 2, 4], [1, 2, 4]]
    for cut in ((2, 2, False), (2, 2, True)):
        assert [rank["share"] for rank in found[cut]] == [[0, 1, 2, 3, 4]] * 2


def test_work_is_counted_once_a_replica(found: Found) -> None:
    for (world, tensor, _), ranks in found.items():
        assert [len(rank["prefill"]) for rank in ranks] == [world // tensor] * world


@pytest.mark.parametrize("case", ALL, ids=str)
def test_the_trainers_process_is_left_alone(found: Found, case: tuple[int, int, bool]) -> None:
    for rank in found[case]:
        assert rank["before"] == rank["after start"] == rank["after"]


def test_the_first_rank_of_a_replica_speaks_for_it(found: Found) -> None:
    assert [rank["agreed"] for rank in found[4, 2, True]] == [f"said by {i}" for i in (0, 0, 2, 2)]
    assert [rank["agreed"] for rank in found[2, 1, False]] == ["said by 0", "said by 1"]


def test_ranks_that_ask_for_different_things_stop_instead_of_waiting_for_ever(found: Found) -> None:
    for case in ((2, 2, False), (4, 2, True)):
        for number, rank in enumerate(found[case]):
            pair = f"ranks {number // 2 * 2} and {number // 2 * 2 + 1} of one replica"
            assert rank["apart"] == f"RuntimeError: prompts, seeds or sampling differ between {pair}"
            assert rank["apart again"] == f"RuntimeError: sequences differ between {pair}"
    for ranks in found.values():
        assert {rank["together"] for rank in ranks} == {"no error"}


def test_the_trainers_groups_survive_and_no_shared_memory_is_left(worlds: dict[int, list[dict[str, Any]]]) -> None:
    for world, ranks in worlds.items():
        for rank in ranks:
            assert rank["groups"] == (world * (world + 1) / 2,) * 2
            assert rank["left"] == []
