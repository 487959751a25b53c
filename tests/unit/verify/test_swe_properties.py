"""What holds for every step of a coding agent: symmetry, reflexivity and bounded work."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.trajectory import Action
from pivot.verify.swe_effect import change_likeness, tokens
from pivot.verify.swe_tools import Step
from tests.unit.verify.swe_steps import FIRST_40, WHOLE, bash, call, create, edit, insert, judged, text, view

PIECES = st.lists(
    st.sampled_from(["a", "b", "x = 1", "x = 2", "if a:", "if not a:", "    return a", "return a", "", "<", "<="]),
    max_size=6,
).map("\n".join)
EDITS = st.builds(
    lambda kind, old, new, line: Step(name="e", category="edit", kind=kind, old=old, new=new, lines=line),
    st.just("str_replace"), PIECES | st.just("a\nb\nx = 1\nif a:"), PIECES, st.none(),
)  # fmt: skip


@given(EDITS, EDITS)
@settings(max_examples=300)
def test_the_likeness_of_edits_is_symmetric_and_whole_for_the_same_one(one: Step, other: Step) -> None:
    there = change_likeness(one, other)
    assert 0.0 <= there <= 1.0
    assert there == change_likeness(other, one)
    assert change_likeness(one, one) == 1.0


STEPS = st.sampled_from([
    *FIRST_40, *WHOLE, edit("a", "b"), edit("a", "c"), create("a"), insert(1, "a"), bash("ls -la"), bash("ls -al"),
    call("grep", pattern="x", path="src"), bash("grep -rn x src"), bash("grep -rn x ./src"), call("finish"),
    call("submit", answer="1"), call("think", thought="It fails."), call("todo_write", todos=["fix it"]),
    call("deploy"), text("edit 1:2\nx\nend_of_edit"), text("submit"), Action("Done."), Action("Which?"),
])  # fmt: skip


@given(STEPS, STEPS)
@settings(max_examples=400)
def test_equality_of_steps_is_symmetric_and_so_is_across_tools(one: Action, other: Action) -> None:
    there, back = judged(one, other), judged(other, one)
    assert (there.reward, there.used) == (back.reward, back.used)
    assert judged(one, one).reason == "match"
    if "across_tools" in there.used:
        assert judged(one, other, across_tools=False).reward == 0.0


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (edit("a " * 40_000, "b " * 40_000), edit("a " * 40_000, "c " * 40_000)),
        (edit("a\n" * 3_900, "b\n" * 3_900), edit("a\n" * 3_800, "c\n" * 3_800)),
        (edit("ab" * 1_990, "\n".join("ab" * 990)), edit("\n".join("ba" * 990), "\n".join("abb" * 660))),
        (create("x" * 190_000), create("y" * 190_000)),
        (bash("cat " + "a/" * 50_000), bash("cat " + "b/" * 50_000)),
        (bash("cd a && " * 2_000 + "cat b"), view()),
        (text("edit 1:2\n" + "x\n" * 60_000 + "end_of_edit"), text("edit 1:2\n" + "y\n" * 60_000 + "end_of_edit")),
        (Action("```" * 60_000), text("ls")),
        (call("think", thought="a b " * 20_000), call("think", thought="b c " * 20_000)),
        (Action(None, view().calls * 3_000), Action(None, view(1, 2).calls * 3_000)),
        (call("grep", pattern="(" * 90_000), bash("grep -rn '" + "(" * 90_000 + "' .")),
    ],
)  # fmt: skip
def test_long_steps_are_judged_in_bounded_time(actual: Action, expected: Action) -> None:
    before = time.process_time()
    assert judged(actual, expected).reward == 0.0
    assert judged(expected, actual).reward == 0.0
    assert time.process_time() - before < 2.0  # far above what it takes, far below what unbounded work would


def test_what_is_longer_than_any_step_is_not_read() -> None:
    huge = bash("ls " + "a" * 200_000)
    assert (judged(huge, bash("ls")).reason, judged(huge, huge).reason) == ("too_long", "match")
    assert len(tokens("a " * 9_000)) == 4_001
