"""`exact` is equality of what the chat template prints."""

from pathlib import Path

import pytest

from pivot.prompt import parse_completion, render_action
from pivot.trajectory import Action, Candidate, ToolCall, candidates
from pivot.trajectory.records import Record, read_records
from pivot.trajectory.tau_bench import read
from pivot.verify import Context, build

AIRLINE = Path(__file__).resolve().parents[4] / "shared" / "data" / "tau_bench" / "gpt-4o-airline.json"


def act(arguments: str, text: str | None = None) -> Action:
    return Action(text, (ToolCall("f", arguments),))


@pytest.mark.parametrize(
    ("actual", "expected", "reward"),
    [
        (Action("Hi"), Action("Hi"), 1.0),
        (Action("hi"), Action("Hi"), 0.0),
        (Action("Hi "), Action("Hi"), 0.0),
        (act('{"a": 1}'), act('{"a":1}'), 1.0),
        (act('{"a": 1, "b": 2}'), act('{"b": 2, "a": 1}'), 0.0),
        (act("{}", "Wait."), act("{}"), 0.0),
        (Action("x", malformed="not_json"), Action("x"), 0.0),
    ],
)
def test_exact_is_equality_of_what_the_template_prints(actual: Action, expected: Action, reward: float) -> None:
    assert build("exact")(actual, expected, Context()).reward == reward


def test_every_real_expert_action_matches_itself_after_a_round_trip_through_text() -> None:
    if not AIRLINE.exists():
        pytest.skip(f"no real trajectories at {AIRLINE}")
    verifiers = [
        build(name) for name in ("exact", "functional", "tool_call:schema", "tool_call:gym", "message:guarded")
    ]
    count = 0
    for record in read_records(AIRLINE):
        assert isinstance(record, Record)
        for item in candidates(read(record.value, record.source, ())):
            assert isinstance(item, Candidate)
            actual = parse_completion(render_action(item.expected))
            for verifier in verifiers:
                verdict = verifier(actual, item.expected, Context(item.tools))
                assert verdict.reward == 1.0 or verdict.status == "undecided", (verifier.name, item.source, verdict)
            count += 1
    assert count == 2454
