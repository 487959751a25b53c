"""`swe`: the table of cases, stored rewards, real trajectories, and how tools are read."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pivot.trajectory import Action, Candidate, ToolCall, candidates
from pivot.trajectory.records import Record, read_records
from pivot.trajectory.swe_agent import read
from pivot.verify import Context, build
from pivot.verify.stored import parse_specs, read_stored, score
from pivot.verify.swe import PRESETS, SweOptions
from pivot.verify.swe_tools import bare_name, category_of, step_of

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
LABELS = Path(__file__).resolve().parents[2] / "labels" / "swe_cases.jsonl"
CASES = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
PRESET_NAMES = tuple(f"swe:{name}" for name in PRESETS)


def call(name: str, **arguments: Any) -> Action:
    return Action(None, (ToolCall(name, json.dumps(arguments)),))


def bash(command: str) -> Action:
    return call("bash", command=command)


def action(raw: dict[str, Any]) -> Action:
    return Action(raw["content"]) if "content" in raw else Action(None, (ToolCall(raw["name"], raw["arguments"]),))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_every_case_of_the_table_earns_what_was_worked_out_by_hand(case: dict[str, Any]) -> None:
    verdict = build(f"swe:{case['preset']}")(action(case["actual"]), action(case["expected"]), Context())
    assert verdict.reward == pytest.approx(case["reward"], abs=1e-12), (case["why"], verdict)
    assert (verdict.reward > 0) == case["passes"]
    assert verdict.status == "decided"


def test_the_table_is_large_and_every_row_has_its_own_number_and_a_reason() -> None:
    assert len(CASES) >= 170
    assert [case["id"] for case in CASES] == [f"sw-{number:03d}" for number in range(1, len(CASES) + 1)]
    assert all(case["why"] for case in CASES)
    assert {case["preset"] for case in CASES} == {"paper", "gym", "gym_continuous"}
    parts = [case["reward"] for case in CASES if case["reward"] not in (0, 1)]
    assert len(parts) >= 20
    assert all(case["preset"] == "gym_continuous" for case in CASES if case["reward"] not in (0, 1))


@pytest.mark.parametrize("spec", ["swe:gym", "swe:gym_continuous", "swe:paper", "swe:guarded"])
def test_every_stored_reward_of_the_published_rollouts_is_given_again(spec: str) -> None:
    files = sorted((SHARED / "nemo_gym").glob("swe_pivot*.jsonl"))
    if len(files) != 2:
        pytest.skip(f"no published rollouts in {SHARED / 'nemo_gym'}")
    tallies, unread = score(read_stored(files), parse_specs([spec]), None)
    assert not unread
    assert tallies[spec].compared == tallies[spec].agreed == 5
    assert tallies[spec].reasons == {"kind_mismatch:message": 5}


@pytest.mark.parametrize("spec", PRESET_NAMES)
def test_every_published_experts_call_equals_itself(spec: str) -> None:
    path = SHARED / "nemo_gym" / "swe_pivot__example.jsonl"
    if not path.exists():
        pytest.skip(f"no published rows at {path}")
    rewards = []
    for record in read_records(path):
        assert isinstance(record, Record)
        own = action(record.value["expected_action"])
        rewards.append(build(spec)(own, own, Context()).reward)
    # The two edits write 73 and 80 characters.
    shaped = [1 - 0.1 * 73 / 500, 1.0, 1.0, 1 - 0.1 * 80 / 500, 1.0]
    assert rewards == pytest.approx(shaped if spec == "swe:gym_continuous" else [1.0] * 5)


@pytest.mark.parametrize("spec", PRESET_NAMES)
def test_every_real_experts_step_equals_itself(spec: str) -> None:
    files = sorted((SHARED / "swe_agent").glob("*.traj"))
    if not files:
        pytest.skip(f"no real trajectories in {SHARED / 'swe_agent'}")
    verifier, seen, decided = build(spec), 0, 0
    for path in files:
        for record in read_records(path):
            assert isinstance(record, Record)
            for item in candidates(read(record.value, record.source, ())):
                assert isinstance(item, Candidate)
                verdict = verifier(item.expected, item.expected, Context())
                least = 0.9 if spec == "swe:gym_continuous" else 1.0  # it takes up to a tenth for size
                assert least <= verdict.reward <= 1.0, (item.source, verdict)
                assert verdict.reason == "match"
                seen += 1
                decided += verdict.status == "decided"
    assert (seen, decided) == (39, 39)


@pytest.mark.parametrize(
    ("name", "bare", "category"),
    [
        ("str_replace_editor", "str_replace_editor", "edit"),
        ("str_replace_based_edit_tool", "str_replace_based_edit_tool", "edit"),
        ("apply_patch", "apply_patch", "edit"),
        ("MultiEdit", "multi_edit", "edit"),
        ("functions.exec_command", "exec_command", "bash"),
        ("mcp__fs__ReadFile", "read_file", "read"),
        ("fs/list-directory", "list_directory", "read"),
        ("repo:Search Code", "search_code", "search"),
        ("Glob", "glob", "search"),
        ("TodoWrite", "todo_write", "planning"),
        ("attempt_completion", "attempt_completion", "finish"),
        ("sequentialThinking", "sequential_thinking", "think"),
        ("read_file_", "read_file", "read"),
        ("deploy_preview", "deploy_preview", ""),
        ("", "", ""),
        ("bashful", "bashful", ""),
    ],
)
def test_names_of_tools_are_read_without_name_spaces_and_capitals(name: str, bare: str, category: str) -> None:
    assert (bare_name(name), category_of(name)) == (bare, category)


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "path", "lines"),
    [
        ("editor", {"command": "view", "path": "a.py", "view_range": [3, 9]}, "view", "a.py", (3.0, 9.0)),
        ("editor", {"command": "view", "path": "a.py", "view_range": [3, -1]}, "view", "a.py", (3.0, math.inf)),
        ("editor", {"command": "view", "path": "a.py", "view_range": [1, 10**400]}, "view", "a.py", (1.0, 1e9)),
        ("editor", {"command": "view", "path": "a.py", "view_range": ["1", "9"]}, "view", "a.py", None),
        ("editor", {"command": ["view"], "path": "a.py"}, "str_replace", "a.py", None),
        ("editor", {"command": {"view": 1}, "path": 5}, "str_replace", "", None),
        ("editor", {"command": "insert", "path": "a.py", "insert_line": 0}, "insert", "a.py", (0.0, 0.0)),
        ("editor", {"command": "insert", "path": "a.py", "insert_line": 10**400}, "insert", "a.py", (1e9, 1e9)),
        ("editor", {"command": "insert", "path": "a.py", "insert_line": True}, "insert", "a.py", None),
        ("write_file", {"file_path": "a.py", "content": "x"}, "create", "a.py", None),
        ("delete_file", {"target_file": "a.py"}, "delete", "a.py", None),
        ("edit_file", {"path": "a.py", "start_line": 2, "end_line": 4, "content": "x"}, "lines", "a.py", (2.0, 4.0)),
        (
            "edit_file",
            {"path": "a.py", "start_line": 2, "old": "y", "new": "x"},
            "str_replace",
            "a.py",
            (2.0, math.inf),
        ),
        ("apply_patch", {"input": "*** Update File: a.py\n@@\n-x\n+y"}, "str_replace", "a.py", None),
        ("read_file", {"path": "a.py", "offset": 11, "limit": 20}, "", "a.py", (11.0, 30.0)),
        ("read_file", {"path": "a.py", "limit": 20}, "", "a.py", (1.0, 20.0)),
        ("read_file", {"PATH": "a.py", "end_line": 7}, "", "a.py", (1.0, 7.0)),
        ("goto", {"line_number": 200}, "", "", (150.0, 249.0)),
        ("goto", {"line_number": 20}, "", "", (1.0, 100.0)),
        ("find_file", {"file_name": "a.py", "dir": "src"}, "files", "src", None),
        ("search_dir", {"search_term": "x", "dir": "src"}, "content", "src", None),
        ("search_file", {"search_term": "x"}, "open_file", "", None),
        ("search_file", {"search_term": "x", "file": "a.py"}, "content", "a.py", None),
    ],
)
def test_what_a_tool_does_is_read_from_its_arguments(
    name: str, arguments: dict[str, Any], kind: str, path: str, lines: tuple[float, float] | None
) -> None:
    step = step_of(name, arguments)
    assert (step.kind, step.path, step.lines) == (kind, path, lines)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"command": "ls -la"}, "ls -la"),
        ({"cmd": "ls -la"}, "ls -la"),
        ({"command": ["bash", "-lc", "ls -la"]}, "ls -la"),
        ({"command": ["ls", "-la"]}, "ls -la"),
        ({"command": ["ls", 1]}, ""),
        ({"command": 5, "script": "ls"}, "ls"),
        ({}, ""),
    ],
)
def test_a_command_may_be_a_text_or_a_vector(arguments: dict[str, Any], command: str) -> None:
    assert step_of("bash", arguments).command == command


def test_several_edits_of_one_call_are_read_together() -> None:
    step = step_of("multi_edit", {"path": "a.py", "edits": [{"old": "a", "new": "b"}, {"old": "c", "new": "d"}]})
    assert (step.old, step.new) == ("a\nc", "b\nd")


@pytest.mark.parametrize(
    ("actual", "expected", "reason"),
    [
        (bash("ls"), bash("ls"), "match"),
        (Action("ls"), bash("ls"), "kind_mismatch:message"),
        (bash("ls"), Action("Which file?"), "kind_mismatch:call"),
        (Action("Which file?"), Action(" Which file?\n"), "match"),
        (Action("Which one?"), Action("Which file?"), "other_message"),
        (Action(None, malformed="not_json"), bash("ls"), "malformed:not_json"),
        (Action(None, (ToolCall("bash", "{"),)), bash("ls"), "unreadable:not_json"),
        (Action(None, (ToolCall("bash", "[]"),)), bash("ls"), "unreadable:not_object"),
        (bash("ls"), Action(None, (ToolCall("bash", "{"),)), "expected_unreadable:not_json"),
        (call("finish"), bash("ls"), "name_mismatch"),
        (bash("l" * 210_000), bash("ls"), "too_long"),
        (bash("cat a/b.py"), bash("head a/b.py"), "target_mismatch:verb"),
        (bash("cat a/b.py"), bash("cat a/c.py"), "target_mismatch:path"),
        (bash("git stash"), bash("git log --all --graph --decorate"), "target_mismatch:likeness"),
        (call("undo_edit", path="a.py"), call("create", path="a.py"), "target_mismatch:sub_command"),
        (call("read", path="a.py", limit=7), call("read", path="a.py", limit=10), "target_mismatch:lines"),
        (call("think", thought="aaaa"), call("think", thought="bbbbbbbbbbbb"), "likeness"),
    ],
)
def test_reasons_of_the_gyms_rule(actual: Action, expected: Action, reason: str) -> None:
    verdict = build("swe:gym")(actual, expected, Context())
    assert verdict.reason == reason
    undecided = reason == "too_long" or reason.startswith(("other_message", "expected_unreadable"))
    assert verdict.status == ("undecided" if undecided else "decided")


def test_in_part_is_a_reason_of_its_own() -> None:
    verdict = build("swe:gym_continuous")(bash("run abcdefgh01234567"), bash("run abcdefghijklmnop"), Context())
    assert (verdict.reward, verdict.reason, verdict.detail) == (pytest.approx(0.75), "partial", "likeness 0.6")


@pytest.mark.parametrize(
    ("tail", "reason"),
    [("ab0123456789XYZU", "match"), ("a0123456789XYZUV", "target_mismatch:likeness")],
)
def test_commands_below_the_floor_are_another_target(tail: str, reason: str) -> None:
    """6 of 20 characters are the floor of 0.3; 5 are below it, though any likeness would do."""
    any_likeness = build({"name": "swe", "preset": "gym", "full": 0.1, "partial": 0.1})
    assert any_likeness(bash(f"run {tail}"), bash("run abcdefghijklmnop"), Context()).reason == reason


def test_the_switches_of_the_gyms_rule_move_its_limits() -> None:
    wanted, given = call("read", path="a.py", limit=10), call("read", path="a.py", limit=5)
    assert build({"name": "swe", "preset": "gym", "cover": 0.5})(given, wanted, Context()).reward == 1.0
    assert build({"name": "swe", "preset": "gym", "cover": 0.51})(given, wanted, Context()).reward == 0.0
    create = call("create", path="a.py", content="x" * 250)
    assert build({"name": "swe", "preset": "gym", "shape": True})(create, create, Context()).reward == 0.95


def test_of_several_calls_the_gym_reads_the_first_and_the_paper_all_names() -> None:
    one, two = bash("ls"), Action(None, (*bash("ls").calls, *call("finish").calls))
    swapped = Action(None, two.calls[::-1])
    assert build("swe:gym")(two, one, Context()).reward == 1.0
    assert build("swe:gym")(swapped, one, Context()).reward == 0.0
    assert build("swe:paper")(two, one, Context()).reward == 0.0
    assert build("swe:paper")(swapped, two, Context()).reward == 1.0


def test_the_paper_looks_at_names_only() -> None:
    paper = build("swe:paper")
    broken = Action(None, (ToolCall("bash", "{"),))
    assert paper(broken, bash("ls"), Context()).reward == 1.0
    assert paper(bash("ls"), broken, Context()).reward == 1.0
    assert paper(bash("l" * 210_000), bash("ls"), Context()).reward == 1.0
    assert paper(call("sh"), bash("ls"), Context()).reason == "name_mismatch"
    text, other, third = (Action(f"```\n{command}\n```") for command in ("open a.py", "open b.py", "create a.py"))
    assert [paper(given, text, Context()).reward for given in (other, third)] == [1.0, 0.0]
    assert paper(Action(None, broken.calls, "not_json"), bash("ls"), Context()).reason == "malformed:not_json"


def test_impossible_switches_are_refused() -> None:
    for wrong, said in (
        ({"rule": "strict"}, "rule must be"),
        ({"full": 1.5}, "full must be from 0 to 1"),
        ({"prose": -0.1}, "prose must be from 0 to 1"),
        ({"full": 0.5}, "partial must not be above full"),
        ({"excess": 0.5}, "excess not below 1"),
    ):
        with pytest.raises(ValueError, match=said):
            SweOptions(**wrong)
