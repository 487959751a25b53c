"""Samples become groups with verdicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pivot.mine.groups import verify
from pivot.rollout import Completion
from tests.unit.mine.fakes import SCORER, turns


def test_the_same_action_of_a_group_is_read_once() -> None:
    read: list[str] = []

    def parse(text: str, tools: Any) -> Any:
        read.append(text)
        return SCORER.parse(text, tools)

    said = [("good 1", "stop"), ("bad", "stop"), ("good 1", "stop"), ("bad", "length"), ("good 1", "stop")]
    samples = [Completion((1,), (0.0,), text, reason, "0") for text, reason in said]
    groups = verify(turns(2), [samples, samples[:1]], replace(SCORER, parse=parse))
    assert [verdict.reward for verdict in groups[0].verdicts] == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert [verdict.reason for verdict in groups[0].verdicts] == ["match", "differs", "match", "over_long", "match"]
    assert [verdict.reason for verdict in groups[1].verdicts] == ["match"]
    assert read == ["good 1", "bad", "good 1"]
