"""The engine's routes are the experts that it used; and an engine that is told to stop, stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_checkpoint, make_tied_checkpoint

WORK = Path(__file__).with_name("routes_workers.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    make_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def captured(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    dense = tmp_path_factory.mktemp("dense")
    make_tied_checkpoint(dense, checkpoint)
    return launch(WORK, "capture", 1, kind="engine", path=checkpoint, dense=dense)[0]


@pytest.mark.parametrize("which", ["fresh", "cached", "pushed", "crowded"])
def test_every_route_is_known_and_is_hugging_faces(captured: dict[str, Any], which: str) -> None:
    counts = captured[which]
    assert counts["missing"] == 0
    assert counts["equal"] > 5000
    assert counts["other"] <= counts["equal"] // 1000  # where two experts score alike


def test_the_cache_held_what_it_was_to_hold(captured: dict[str, Any]) -> None:
    assert captured["computed"] < 5 * 4 * 40  # of 5 prompts of 140 tokens and more, 4 times each
    assert captured["preempted"] > 0


def test_samples_of_a_prompt_share_its_routes(captured: dict[str, Any]) -> None:
    assert captured["shared"]


def test_routes_are_there_only_where_they_are_wanted(captured: dict[str, Any]) -> None:
    assert captured["without"] is None
    assert captured["tails"].startswith("RuntimeError: routes of tokens in shared block tails are not known")
    assert captured["dense"] == "UserError: grpo.router_replay is true, but the model has no experts: set false"


def test_an_engine_stops_when_it_is_enough(checkpoint: Path) -> None:
    found = launch(WORK, "stopping", 1, kind="engine", path=checkpoint)[0]
    assert found["aborted before"] == 0
    for drawn, seen, aborted in found["stopped"]:
        assert 2 <= len(seen) < 8
        assert [bool(group) for group in drawn] == [index in seen for index in range(8)]
        for group, same in zip(drawn, found["whole"], strict=True):
            assert not group or group == same
        given_up = [one for index, group in enumerate(found["whole"]) if index not in seen for one in group]
        assert 0 < aborted < sum(len(one.token_ids) for one in given_up)
    assert found["stopped"][0] == found["stopped"][1]  # nothing but the requests decides who ends first
    assert found["after"] == found["whole"]
