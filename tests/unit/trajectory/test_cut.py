"""Every assistant turn is exactly one candidate or one counted skip."""

from typing import Any

import pytest
from hypothesis import given

from pivot.trajectory import Action, Candidate, Skip, ToolCall, Trajectory, candidates
from pivot.trajectory.identity import candidate_id
from pivot.trajectory.messages import read_messages
from tests.unit.trajectory.examples import TRAJECTORIES, WEATHER_TOOL, call, weather_trajectory


def _cut(*raw: dict[str, Any]) -> list[Candidate | Skip]:
    trajectory = Trajectory("t", read_messages(list(raw)), (), "tool_use", None, "f:7")
    return list(candidates(trajectory))


def test_a_trajectory_is_cut_before_each_assistant_turn() -> None:
    trajectory = weather_trajectory()
    first, second = candidates(trajectory)
    assert isinstance(first, Candidate)
    assert isinstance(second, Candidate)
    assert first.messages == trajectory.messages[:2]
    assert second.messages == trajectory.messages[:4]
    assert first.expected == Action(None, (ToolCall("get_weather", '{"city": "Oslo"}'),))
    assert second.expected == Action("It is clear in Oslo.")
    assert [(c.turn, c.turns) for c in (first, second)] == [(0, 2), (1, 2)]
    assert (first.domain, first.success, first.source) == ("tool_use", True, "weather.jsonl:1")
    assert first.tools == (WEATHER_TOOL,)


@given(TRAJECTORIES)
def test_each_assistant_turn_yields_one_item_with_its_own_history(trajectory: Trajectory) -> None:
    items = list(candidates(trajectory))
    turns = [i for i, message in enumerate(trajectory.messages) if message["role"] == "assistant"]
    assert [item.turn for item in items] == list(range(len(turns)))
    for item, index in zip(items, turns, strict=True):
        if isinstance(item, Candidate):
            assert item.messages == trajectory.messages[:index]
            assert item.candidate_id == candidate_id(item.messages, item.tools, item.expected)


USER = {"role": "user", "content": "hi"}


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        ({"role": "assistant", "content": None}, "empty_action"),
        ({"role": "assistant"}, "empty_action"),
        ({"role": "assistant", "content": " \n"}, "empty_action"),
        ({"role": "assistant", "content": "", "tool_calls": []}, "empty_action"),
        ({"role": "assistant", "tool_calls": [call("f", "{broken")]}, "broken_arguments"),
        ({"role": "assistant", "tool_calls": [call("f", "[1]")]}, "broken_arguments"),
        ({"role": "assistant", "tool_calls": [call("f", "[" * 10_000)]}, "broken_arguments"),
        ({"role": "assistant", "tool_calls": [call("f", {}), call("f", "7")]}, "broken_arguments"),
        ({"role": "assistant", "tool_calls": [call("", {})]}, "missing_name"),
        ({"role": "assistant", "tool_calls": [{"id": "x"}]}, "missing_name"),
    ],
)
def test_an_unusable_turn_is_skipped_but_stays_in_the_history(turn: dict[str, Any], reason: str) -> None:
    skipped, after = _cut(USER, turn, USER, {"role": "assistant", "content": "ok"})
    assert skipped == Skip(reason, "f:7", 0)
    assert isinstance(after, Candidate)
    assert (len(after.messages), after.turn, after.turns) == (3, 1, 2)


def test_a_greeting_needs_at_least_a_system_message() -> None:
    greeting = {"role": "assistant", "content": "Hello!"}
    assert _cut(greeting) == [Skip("no_history", "f:7", 0)]
    (item,) = _cut({"role": "system", "content": "policy"}, greeting)
    assert isinstance(item, Candidate)


def test_the_id_hashes_content_and_not_random_call_ids() -> None:
    def last(call_id: str, city: str = "Oslo", answer: str = "clear") -> str:
        *_, item = _cut(
            USER,
            {"role": "assistant", "tool_calls": [call("get_weather", {"city": city}, call_id)]},
            {"role": "tool", "tool_call_id": call_id, "content": "sky"},
            {"role": "assistant", "content": answer},
        )
        assert isinstance(item, Candidate)
        return item.candidate_id

    assert last("call_1") == last("call_2")
    assert len({last("x"), last("x", city="Rome"), last("x", answer="rain")}) == 3


def test_the_id_tells_which_call_a_result_answers() -> None:
    def with_results(first: str, second: str) -> str:
        messages = read_messages(
            [
                USER,
                {"role": "assistant", "tool_calls": [call("f", {}, "a"), call("f", {}, "b")]},
                {"role": "tool", "tool_call_id": first, "content": "one"},
                {"role": "tool", "tool_call_id": second, "content": "two"},
            ]
        )
        return candidate_id(messages, (), Action("x"))

    assert with_results("a", "b") != with_results("b", "a")


def test_the_id_depends_on_the_tools_and_on_nothing_of_the_file() -> None:
    trajectory = weather_trajectory()
    moved = Trajectory("other", trajectory.messages, trajectory.tools, "swe", None, "elsewhere:9")
    without = Trajectory("weather", trajectory.messages, (), "tool_use", True, "weather.jsonl:1")
    ids = [next(iter(candidates(t))) for t in (trajectory, moved, without)]
    assert all(isinstance(item, Candidate) for item in ids)
    here, there, bare = (item.candidate_id for item in ids if isinstance(item, Candidate))
    assert here == there != bare
    assert here == "f525cbc2ba339dbe506b3e83"  # ids in old stores stay valid
