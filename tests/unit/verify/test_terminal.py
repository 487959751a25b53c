"""Turns at a terminal: the two presets of NeMo-Gym, the shell's rules, and what each switch lets pass."""

import json
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, Verdict, build
from pivot.verify.ratio import ratio
from pivot.verify.shell import ShellRelaxations
from pivot.verify.stored import Stored, parse_specs, read_stored, score
from pivot.verify.terminal import PRESETS, TerminalOptions

shell, gym, gym_string = (build(f"terminal:{preset}") for preset in ("shell", "gym", "gym_string"))
TERMINUS = (
    Path(__file__).resolve().parents[4] / "shared" / "data" / "nemo_gym" / "terminus_judge__example_rollouts.jsonl"
)


def turn(*entries: str, complete: bool | None = None, **more: Any) -> Action:
    """A turn of Terminus 2; without a flag unless it is given."""
    flag = {} if complete is None else {"task_complete": complete}
    commands = [{"keystrokes": entry, "duration": 0.1} for entry in entries]
    return Action(json.dumps({"analysis": "a", "plan": "p", "commands": commands} | flag | more))


def turn_1(*entries: str, complete: bool = False) -> Action:
    commands = [{"keystrokes": entry, "is_blocking": True, "timeout_sec": 5} for entry in entries]
    return Action(
        json.dumps({"state_analysis": "s", "explanation": "e", "commands": commands, "is_task_complete": complete})
    )


def judge(verifier: Any, actual: Action, expected: Action) -> Verdict:
    verdict = verifier(actual, expected, Context())
    assert isinstance(verdict, Verdict)
    return verdict


def test_presets() -> None:
    assert sorted(PRESETS) == ["gym", "gym_string", "shell"]
    assert build("terminal").sha == shell.sha
    assert (PRESETS["gym"].similarity, PRESETS["gym_string"].similarity) == (0.95, 0.9)
    with pytest.raises(ValueError, match="similarity must be from 0 to 1"):
        TerminalOptions(similarity=1.1)


@pytest.mark.parametrize("make", [turn, turn_1])
def test_a_turn_that_is_not_complete_fails_under_every_preset(make: Any) -> None:
    done, open_ = make("ls\n", complete=True), make("ls\n", complete=False)
    for verifier in (shell, gym, gym_string):
        verdict = judge(verifier, open_, done)
        assert (verdict.reward, verdict.reason, verdict.status) == (0.0, "not_complete", "decided")
        assert judge(verifier, done, done).reward == 1.0
    assert judge(shell, done, open_).reason == "complete_too_early"
    assert judge(gym, done, open_).reason == judge(gym_string, done, open_).reason == "match"
    assert judge(shell, turn("ls\n"), turn("ls\n", complete=False)).reason == "match"
    assert judge(shell, turn("ls\n"), turn("ls\n", complete=True)).reason == "not_complete"


# (actual, reason) under every preset, the expert typing `ls` in Terminus 2
REFUSED: list[tuple[Action, str]] = [
    (Action("x", malformed="unclosed_think"), "malformed:unclosed_think"),
    (Action(None, (ToolCall("ls", "{}"),)), "kind_mismatch:call"),
    (Action(turn("ls\n").content, (ToolCall("ls", "{}"),)), "kind_mismatch:call"),
    (Action(None), "unreadable:empty"),
    (Action("ls"), "unreadable:not_json"),
    (turn_1("ls\n"), "unreadable:missing.analysis"),
    (turn("ls\n", plan=1), "unreadable:type.plan"),
    (turn("ls\n", commands=[{}]), "unreadable:missing.commands.keystrokes"),
]


@pytest.mark.parametrize(("actual", "reason"), REFUSED)
def test_what_is_no_turn_earns_nothing_with_a_reason(actual: Action, reason: str) -> None:
    for verifier in (shell, gym, gym_string):
        verdict = judge(verifier, actual, turn("ls\n"))
        assert (verdict.reward, verdict.reason, verdict.status) == (0.0, reason, "decided")


def test_what_an_expert_did_and_nobody_can_read_is_left_to_others() -> None:
    for expected, why in ((Action("Done."), "not_json"), (Action(None, (ToolCall("f", "{}"),)), "calls")):
        verdict = judge(shell, turn("ls\n"), expected)
        assert (verdict.reward, verdict.reason, verdict.status) == (0.0, f"expected_unreadable:{why}", "undecided")
        assert judge(shell, expected, expected).reward == 1.0


DIGITS = "abcdefghijklmnopqrstuvwxyz0123456789"
# (expected, actual): keystrokes about as alike as the thresholds ask for
ALIKE: list[tuple[str, str]] = [
    ("ls\n", "ls\n"),
    ("", ""),
    ("", "ls\n"),
    ("ls\n", ""),
    *((DIGITS[:size], DIGITS[: size - 1] + "#") for size in (8, 9, 10, 11, 18, 19, 20, 21)),
    *((DIGITS[:size], DIGITS[:size] + "#" * more) for size, more in ((9, 1), (9, 2), (9, 3), (19, 2), (20, 3))),
    ("grep -rn parse_header src/app.py\n", "grep -rn parse_headers src/app.py\n"),
    ("ls -la\n", "ls -l -a\n"),
    ("make install\n", "make uninstall\n"),
    ("a" * 150 + "b", "b" + "a" * 150),
    ("abc" * 66 + "x", "abc" * 66 + "y"),
    ("abc" * 67 + "x", "abc" * 67 + "y"),  # from 200 on, the matcher ignores popular characters
    ("abc" * 67 + "y", "abc" * 60),
    ("abcd" * 60, DIGITS + "abcd" * 60),
]


@pytest.mark.parametrize(("expected", "actual"), ALIKE)
def test_gym_asks_for_the_likeness_that_difflib_finds(expected: str, actual: str) -> None:
    alike = SequenceMatcher(None, expected, actual).ratio()
    for verifier, least in ((gym, 0.95), (gym_string, 0.9)):
        verdict = judge(verifier, turn(actual), turn(expected))
        assert verdict.reward == float(alike >= least)
        if alike < least:
            assert (verdict.reason, verdict.status) == ("keystrokes_differ", "undecided")
            assert verdict.detail == f"similarity {alike!r}"
        elif actual != expected:
            assert (verdict.used, verdict.detail) == (("similarity",), f"similarity {alike!r}")


def test_the_table_of_likeness_has_both_sides_of_both_thresholds() -> None:
    found = [SequenceMatcher(None, *pair).ratio() for pair in ALIKE]
    assert 0.9 in found
    assert 0.95 in found
    for low, high in ((0.0, 0.9), (0.9, 0.95), (0.95, 1.0)):
        assert sum(low < alike < high for alike in found) >= 2


NEAR = st.text(alphabet="ab\n", max_size=40) | st.text(max_size=20)


@given(NEAR, NEAR, st.integers(0, 40))
@settings(max_examples=300)
def test_the_ratio_is_difflibs_and_never_less_where_its_work_is_cut(one: str, other: str, shared: int) -> None:
    left, right = one[:shared] + other, one
    alike = SequenceMatcher(None, left, right).ratio()
    found = ratio(left, right)
    assert (found.value, found.exact) == (alike, True)
    assert ratio(left, right, budget=30).value >= alike
    assert judge(gym, turn(right), turn(left)).reward == float(alike >= 0.95)


def test_gym_is_not_symmetric_as_difflib_is_not() -> None:
    assert judge(gym, turn("diet"), turn("tide")).detail == "similarity 0.25"
    assert judge(gym, turn("tide"), turn("diet")).detail == "similarity 0.5"


def test_a_likeness_that_takes_too_long_is_no_verdict() -> None:
    expected = "".join(chr(0x4E00 + at % 160) for at in range(40_000))
    verdict = judge(gym, turn(expected + "b"), turn(expected))
    assert (verdict.reward, verdict.reason, verdict.status) == (0.0, "too_long", "undecided")
    far = judge(gym, turn("b" * 70_000), turn(expected))
    assert (far.reason, far.detail) == ("keystrokes_differ", f"similarity at most {80_000 / 110_000!r}")
    assert judge(gym, turn(expected), turn(expected)).reward == 1.0


# (actual, expected, switches that the shell's verdict used; None where they are not equal)
TURNS: list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...] | None]] = [
    (("ls -la\n",), ("ls -al\n",), ("flag_clusters", "flag_order")),
    (("ls\n", "pwd\n"), ("ls\npwd\n",), ()),
    (("ls", "\n"), ("ls\n",), ()),
    (("ls", "Enter"), ("ls\n",), ()),
    (("ls", "C-m"), ("ls", "C-j"), ()),
    (("cd d\n", "ls -la\n"), ("cd d && ls -l -a\n",), ("cd_chain", "flag_clusters")),
    (("ls\n", ""), ("ls\n",), ()),
    (("",), (), ()),
    (("C-c",), ("C-c",), ()),
    (("C-c", "ls -la\n"), ("C-c", "ls -l -a\n"), ("flag_clusters",)),
    (("C-c",), ("C-d",), None),
    (("C-c",), ("C", "-c"), None),
    (("C-c",), ("C-c\n",), None),
    (("C-c", "C-c"), ("C-c",), None),
    (("C-c", "ls\n"), ("ls\n", "C-c"), None),
    (("Up", "Enter"), ("Up\n",), None),
    (("Escape", ":wq\n"), (":wq\n",), None),
    (("Escape", "ls -la\n"), ("Escape", "ls -l -a\n"), None),
    (("q", "ls -la\n"), ("q", "ls -l -a\n"), ("flag_clusters",)),
    (("ls -la\n",), ("ls -la",), None),
    (("ls\n",), ("",), None),
    (("vim f\n", "ls -la\n"), ("vim f\n", "ls -l -a\n"), None),
    (("ls\n", "pwd\n"), ("pwd\n", "ls\n"), None),
]


@pytest.mark.parametrize(("actual", "expected", "used"), TURNS)
def test_keys_are_the_same_and_texts_between_them_are_commands(
    actual: tuple[str, ...], expected: tuple[str, ...], used: tuple[str, ...] | None
) -> None:
    for one, other in ((actual, expected), (expected, actual)):
        for make in (turn, turn_1):
            verdict = judge(shell, make(*one), make(*other))
            if used is None:
                assert (verdict.reward, verdict.reason, verdict.status) == (0.0, "keystrokes_differ", "undecided")
            else:
                assert (verdict.reward, verdict.reason, verdict.used) == (1.0, "match", used)


def test_gym_reads_all_keystrokes_as_one_text() -> None:
    assert judge(gym, turn("C-", "c"), turn("C-c")).reward == 1.0
    assert judge(gym, turn("ls -la --color=never --sort=size /usr/lib\n"), turn("ls -lA --color=never --sort=size "
                 "/usr/lib\n")).used == ("similarity",)  # fmt: skip
    assert judge(gym, turn("ls -la\n"), turn("ls -al\n")).reward == 0.0


def spec(preset: str = "shell", **switches: Any) -> Any:
    return build({"name": "terminal", "preset": preset, **switches})


def test_each_switch_of_a_turn_decides_what_it_says() -> None:
    both = turn("ls -la\n"), turn("ls -l -a\n")
    assert judge(shell, *both).reward == 1.0
    assert judge(spec(shell=False), *both).reward == 0.0
    assert judge(spec(flag_clusters=False), *both).reward == 0.0
    assert judge(spec("gym", shell=True), *both).used == ("flag_clusters",)
    off = dict.fromkeys(ShellRelaxations().on() - {"flag_clusters"}, False)
    assert judge(spec(**off), *both).used == ("flag_clusters",)

    early = turn("ls\n", complete=True), turn("ls\n")
    assert judge(shell, *early).reward == 0.0
    assert judge(spec(early_completion=True), *early).reward == 1.0
    assert judge(spec("gym", early_completion=False), *early).reason == "complete_too_early"

    around = Action(f"Here:\n{turn('ls').content}"), turn("ls")
    assert judge(shell, *around).reward == 1.0
    assert judge(spec(text_around=False), *around).reason == "unreadable:not_json"
    assert judge(gym, *around).reason == "unreadable:not_json"
    assert judge(spec("gym", text_around=True), *around).reward == 1.0

    close = turn("unknown --alpha --beta --gamma 1\n"), turn("unknown --alpha --beta --gamma 2\n")
    assert judge(shell, *close).reward == 0.0
    assert judge(spec(similarity=0.95), *close).used == ("similarity",)
    assert judge(spec(similarity=0.99), *close).reason == "keystrokes_differ"

    enter = turn("ls"), turn("ls\n")
    assert judge(spec(final_enter=True), *enter).used == ("final_enter",)


ENTRIES = st.lists(
    st.sampled_from(
        ["ls", "ls -la", "ls -l -a", "\n", "Enter", "C-c", "C-d", "q", "cd d && ls\n", "cd d\n", "ls\n", "", "vim f\n",
         "cat f | grep x\n", "grep x f\n", "python3\n", "1+1\n", "Up", "Tab", ":wq\n", "cat <<A\n", "x\nA\n", "echo 'a"]
    ),
    max_size=4,
)  # fmt: skip


@given(ENTRIES, ENTRIES, st.booleans(), st.booleans())
@settings(max_examples=400)
def test_the_shells_rule_is_reflexive_and_symmetric(one: list[str], other: list[str], done: bool, ready: bool) -> None:
    left, right = turn(*one, complete=done), turn(*other, complete=ready)
    assert judge(shell, left, left).reason == "match"
    forth, back = judge(shell, left, right), judge(shell, right, left)
    assert (forth.reward, forth.used) == (back.reward, back.used)


@given(st.lists(st.text(max_size=8), max_size=4), st.booleans(), st.booleans())
def test_an_experts_turn_equals_itself_whatever_it_types_and_says(entries: list[str], done: bool, first: bool) -> None:
    make = turn_1 if first else turn
    expected = make(*entries, complete=done)
    for verifier in (shell, gym, gym_string):
        assert judge(verifier, expected, expected).reward == 1.0


def test_too_many_entries_are_compared_as_they_are_typed() -> None:
    many = ["ls -la\n", "C-c"] * 129
    assert judge(shell, turn(*many), turn(*many)).reward == 1.0
    assert judge(shell, turn(*many), turn(*many[:-2], "ls -l -a\n", "C-c")).reason == "keystrokes_differ"
    few = many[:20]
    assert judge(shell, turn(*few), turn(*few[:-2], "ls -l -a\n", "C-c")).reward == 1.0


def test_the_published_rewards_come_out_as_far_as_no_judge_gave_them() -> None:
    if not TERMINUS.exists():
        pytest.skip(f"no published rollouts at {TERMINUS}")
    rows = [json.loads(line) for line in TERMINUS.read_text(encoding="utf-8").splitlines()]
    found = list(read_stored([TERMINUS]))
    assert len(rows) == len(found) == 5
    for row, item in zip(rows, found, strict=True):
        assert isinstance(item, Stored)
        assert item.domain == "terminal"
        verdict = judge(gym, item.actual, item.expected)
        assert row["schema_check_passed"] == (not verdict.reason.startswith("unreadable"))
        assert row["task_complete_check_passed"] == (verdict.reason != "not_complete")
        assert row["string_similarity_passed"] == (verdict.reward == 1.0)
        assert verdict.detail == f"similarity {row['similarity_score']!r}"
        if not row["judge_passed"]:
            assert verdict.reward == item.reward
    tallies, unread = score(found, parse_specs(["terminal:gym"]), None)
    assert not unread
    # A judge refused all five: nobody else may decide against it, and nobody does.
    assert tallies["terminal:gym"].compared == tallies["terminal:gym"].agreed == 5
