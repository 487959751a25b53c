"""The engine's routes are the experts that it used; one that is told to stop, stops, and another goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.parity.launch import launch
from tests.parity.swap_checkpoint import make_tied_checkpoint

WORK = Path(__file__).with_name("routes_workers.py")


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


@pytest.mark.parametrize("share_tails", [False, True])
def test_newer_weights_go_on_where_older_ones_were_stopped(checkpoint: Path, share_tails: bool) -> None:
    found = launch(WORK, "going_on", 1, kind="engine", path=checkpoint, share_tails=share_tails)[0]
    begun, first, again = found["begun"], *found["drawn"]
    assert begun
    assert found["aborted"] == sum(len(one.token_ids) for samples in begun.values() for one in samples) > 0
    assert first == again
    assert found["left"] == {}
    reused = 0
    for index, group in enumerate(first):
        assert len(group) == 3
        for one, before, old, new in zip(group, begun[index], found["old"][index], found["new"][index], strict=True):
            length, start = len(before.token_ids), found["prompts"][index] - 1
            assert one.token_ids[:length] == before.token_ids
            assert one.logprobs[:length] == before.logprobs
            assert one.logprobs[:length] == pytest.approx(old[start:], abs=1e-5)
            if before.finish_reason is None:
                assert one.older == (("initial", length),) * (length > 0)
                assert one.weight_version == "1"
                assert length < len(one.token_ids) <= 24
                assert one.logprobs[length:] == pytest.approx(new[start + length :], abs=1e-5)
                reused += length
            else:
                assert (one.older, one.weight_version, one.token_ids) == ((), "initial", before.token_ids)
            assert one.finish_reason == ("length" if len(one.token_ids) == 24 else "stop")
    assert reused > 0
    finished = [one for samples in begun.values() for one in samples if one.finish_reason]
    assert finished  # of groups that were not
    assert found["refused"] == [
        "ValueError: prompt 0 has 1 samples that were begun, not 2",
        "ValueError: prompt 0 has nothing left to sample",
        "ValueError: prompt 0 has a sample of 24 tokens, which has no room for more",
    ]
