"""Verifiers are found by name; `exact` is plain string equality; a hash tells versions apart."""

from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.prompt import parse_completion, render_action
from pivot.trajectory import Action, Candidate, ToolCall, candidates
from pivot.trajectory.records import Record, read_records
from pivot.trajectory.tau_bench import read
from pivot.verify import get_verifier, message, verifier_names, verifier_sha

AIRLINE = Path(__file__).resolve().parents[4] / "shared" / "data" / "tau_bench" / "gpt-4o-airline.json"


def test_an_unknown_name_lists_the_names() -> None:
    assert verifier_names() == ("exact", "functional")
    with pytest.raises(UserError, match="unknown verifier 'fuzzy'; use one of exact, functional"):
        get_verifier("fuzzy")


def _act(arguments: str, text: str | None = None) -> Action:
    return Action(text, (ToolCall("f", arguments),))


@pytest.mark.parametrize(
    ("actual", "expected", "reward"),
    [
        (Action("Hi"), Action("Hi"), 1.0),
        (Action("hi"), Action("Hi"), 0.0),
        (Action("Hi "), Action("Hi"), 0.0),
        (_act('{"a": 1}'), _act('{"a":1}'), 1.0),
        (_act('{"a": 1, "b": 2}'), _act('{"b": 2, "a": 1}'), 0.0),
        (_act("{}", "Wait."), _act("{}"), 0.0),
        (Action("x", malformed="not_json"), Action("x"), 0.0),
    ],
)
def test_exact_is_equality_of_what_the_template_prints(actual: Action, expected: Action, reward: float) -> None:
    assert get_verifier("exact")(actual, expected, ()).reward == reward


def test_the_hash_follows_the_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = {name: verifier_sha(name) for name in verifier_names()}
    assert len({*before.values()}) == 2
    assert all(len(sha) == 16 for sha in before.values())
    assert message.__file__ is not None
    edited = tmp_path / "message.py"
    edited.write_bytes(Path(message.__file__).read_bytes() + b"\n")
    monkeypatch.setattr(message, "__file__", str(edited))
    assert verifier_sha("functional") != before["functional"]
    assert verifier_sha("exact") == before["exact"]


def test_every_real_expert_action_matches_itself_after_a_round_trip_through_text() -> None:
    if not AIRLINE.exists():
        pytest.skip(f"no real trajectories at {AIRLINE}")
    count = 0
    for record in read_records(AIRLINE):
        assert isinstance(record, Record)
        for item in candidates(read(record.value, record.source, ())):
            assert isinstance(item, Candidate)
            actual = parse_completion(render_action(item.expected))
            for name in verifier_names():
                assert get_verifier(name)(actual, item.expected, item.tools).reward == 1.0
            count += 1
    assert count == 2454
