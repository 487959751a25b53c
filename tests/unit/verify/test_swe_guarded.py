"""`swe:guarded`: steps that do the same, whatever the tool, and steps that only look alike."""

from typing import Any

import pytest

from pivot.trajectory import Action, ToolCall
from pivot.verify.swe_effect import effect, same_path
from pivot.verify.swe_tools import step_of
from tests.unit.verify.swe_steps import FIRST_40, MODELS, WHOLE, bash, call, create, edit, insert, judged, text, view


@pytest.mark.parametrize("same", [FIRST_40, WHOLE], ids=["lines", "whole"])
def test_a_view_is_the_same_with_every_tool(same: list[Action]) -> None:
    for expected in same:
        for actual in same:
            if bool(actual.calls) == bool(expected.calls):
                assert judged(actual, expected).reward == 1.0, (actual, expected)
    for actual in FIRST_40:
        for expected in WHOLE:
            assert judged(actual, expected).reward == judged(expected, actual).reward == 0.0


@pytest.mark.parametrize(
    "command",
    [
        f"sed -i 's/a/b/' {MODELS}",
        f"sed -n '1,40!p' {MODELS}",
        f"head -c 40 {MODELS}",
        f"tail -n 40 {MODELS}",
        f"cat {MODELS} {MODELS}",
        f"cat {MODELS} | wc -l",
        f"cat {MODELS} > copy.py",
        f"cat {MODELS} &",
        f"! cat {MODELS}",
        f"X=1 cat {MODELS}",
        f"cat {MODELS} && make",
        f"cat {MODELS} || sed -n 1,40p {MODELS}",
        f"cat -A {MODELS}",
        f"cd && cat {MODELS}",
        f"cd - && cat {MODELS}",
        "cat $FILE",
        "cat -",
        "head -n x f",
        "cat",
    ],
)
def test_commands_that_do_more_than_show_a_file_are_no_views(command: str) -> None:
    step = step_of("bash", {"command": command})
    assert effect(step) is step


@pytest.mark.parametrize(
    ("actual", "expected", "same"),
    [
        ((40, 80), (40, 80), True),
        ((48, 80), (40, 80), True),  # 33 of 41 lines
        ((49, 80), (40, 80), False),  # 32 of 41
        ((1, 100), (40, 79), True),  # 2.5 times as much
        ((1, 120), (40, 79), True),  # 3 times
        ((1, 121), (40, 79), False),
        ((40, -1), (40, 80), False),
        ((40, 80), (40, -1), False),
        ((40, -1), (40, -1), True),
        ((1, -1), (201, -1), True),  # 200 lines more than 100 that an end stands for
        ((1, -1), (202, -1), False),
        ((), (202, -1), False),
        ((202, -1), (1, -1), False),
        ((80, 40), (80, 40), True),
        ((1, 2), (80, 40), False),
        ((1, -1), (), True),
        ((), (1, -1), True),
        ((2, -1), (), False),
    ],
)
def test_enough_is_viewed_and_not_too_much(actual: tuple[int, ...], expected: tuple[int, ...], same: bool) -> None:
    verdict = judged(view(*actual), view(*expected))
    assert (verdict.reward, verdict.reason) == ((1.0, "match") if same else (0.0, "target_mismatch:lines"))
    assert verdict.status == "decided"


def test_the_switches_of_views_move_their_limits() -> None:
    assert judged(view(41, 60), view(41, 80), cover=0.5).used == ("view_range",)
    assert judged(view(41, 60), view(41, 80)).reward == 0.0
    assert judged(view(1, 400), view(41, 80), excess=10.0).used == ("view_range",)
    assert judged(view(1, 401), view(41, 80), excess=10.0).reward == 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/repo/src/a.py", "/repo/src/a.py", True),
        ("/repo/src/a.py", "/repo/./src//a.py", True),
        ("/repo/src/a.py", "src/a.py", True),
        ("/repo/src/a.py", "./src/a.py", True),
        ("/repo/lib/src/a.py", "src/a.py", True),
        ("/repo/a.py", "a.py", True),
        ("/repo/src/a.py", "a.py", False),
        ("/repo/src/a.py", "/src/a.py", False),
        ("/repo/src/a.py", "/srv/src/a.py", False),
        ("/repo/src/a.py", "../src/a.py", False),
        ("/repo/src/a.py", "src/A.py", False),
        ("a.py", "/a.py", False),
        ("", ".", True),
        ("", "src", False),
        ("/", "/repo", False),
    ],
)
def test_a_relative_path_is_the_end_of_an_absolute_one(one: str, other: str, same: bool) -> None:
    assert same_path(one, other) == same_path(other, one) == same


@pytest.mark.parametrize(
    ("tool", "command", "same"),
    [
        (("class Foo", "src"), "grep -rn 'class Foo' src", True),
        (("class Foo", "src"), 'grep -Rn "class Foo" src/', True),
        (("class Foo", "src"), "rg 'class Foo' src", True),
        (("class Foo", "src"), "rg -n 'class Foo' ./src", True),
        (("class Foo", "src"), "cd src && grep -rn 'class Foo' .", True),
        (("class Foo", ""), "grep -rn 'class Foo' .", True),
        (("class Foo", "src"), "grep -rF 'class Foo' src", True),
        (("class Foo", "src"), "grep -rl 'class Foo' src", False),
        (("class Foo", "src"), "grep -rin 'class Foo' src", False),
        (("class Foo", "src"), "grep -n 'class Foo' src", False),
        (("class Foo", "src"), "grep -rn 'class Foo' lib", False),
        (("class Foo", "src"), "grep -rn 'class Bar' src", False),
        (("class Foo", "src"), "rg -I 'class Foo' src", False),
        (("a|b", "src"), "grep -rnE 'a|b' src", True),
        (("a|b", "src"), "rg 'a|b' src", True),
        (("a|b", "src"), "grep -rn 'a|b' src", False),
        (("a.b", "src"), "grep -rn 'a.b' src", True),
        (("a.b", "src"), "grep -rnF 'a.b' src", False),
    ],
)
def test_a_search_is_the_same_with_a_tool_or_a_command(tool: tuple[str, str], command: str, same: bool) -> None:
    query, path = tool
    searched = call("grep", pattern=query, **({"path": path} if path else {}))
    for verdict in (judged(bash(command), searched), judged(searched, bash(command))):
        assert (verdict.reward, set(verdict.used) - {"path_form"}) == (
            (1.0, {"across_tools"}) if same else (0.0, set())
        )


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("grep -rnE 'a|b' src", "grep -rnF 'a|b' src", "differs:query"),
        ("grep -rn 'a|b' src", "grep -rnF 'a|b' src", "match"),
        ("grep -rn 'a.b|c' src", "grep -rnF 'a.b|c' src", "differs:query"),
        ("grep -rn 'a.b' src", "grep -rnE 'a.b' src", "match"),
        ("grep -rn 'f(' src", "grep -rnE 'f(' src", "differs:query"),
        (r"grep -rn 'a\|b' src", r"grep -rnE 'a\|b' src", "differs:query"),
    ],
)
def test_a_pattern_is_read_in_its_dialect(one: str, other: str, reason: str) -> None:
    assert judged(bash(one), bash(other)).reason == judged(bash(other), bash(one)).reason == reason


def test_searching_the_open_file_is_not_searching_a_folder() -> None:
    assert judged(text("search_file Foo"), text("search_dir Foo")).reason == "target_mismatch:kind"
    assert judged(text("search_file Foo"), text("search_file 'Foo'")).reward == 1.0
    assert judged(call("find_file", query="a.py"), call("grep", query="a.py")).reason == "target_mismatch:kind"
    assert judged(call("find_file", query="a.py"), call("glob", pattern="a.py")).reward == 1.0


LOOP = "    for row in rows:\n        total += row\n"


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (edit(f"{LOOP}    return None", f"{LOOP}    return total"), edit("    return None", "    return total")),
        (edit("return None", "return  total"), edit("return None", "return total")),
        (edit("    return None\n", "    return total\n"), edit("    return None", "    return total")),
        (edit("a()\nb()\nc()", "a()\nB()\nc()"), edit("b()\nc()\nd()", "B()\nc()\nd()")),
        (edit("a\n\n\nb", "a\n\nc"), edit("a\nb", "a\nc")),
        (create("x = 1\n\n\ny = 2\n"), create("x = 1\ny = 2")),
        (create("x=1"), create("x = 1")),
        (insert(3, "import os"), insert(3, "import os\n")),
        (call("write_file", path=MODELS, content="x = 1\n"), create("x = 1\n")),
        (call("edit", file_path=MODELS, old_string="a", new_string="b"), edit("a", "b")),
    ],
)
def test_edits_are_the_same_where_the_changed_tokens_are(actual: Action, expected: Action) -> None:
    assert judged(actual, expected).reason == judged(expected, actual).reason == "match"


@pytest.mark.parametrize(
    ("actual", "expected", "reason"),
    [
        (edit(LOOP, LOOP.replace("+=", "-=")), edit(LOOP, LOOP.replace("+=", "=")), "differs:edit"),
        (edit("if a:", "if a < b:"), edit("if a:", "if a <= b:"), "differs:edit"),
        (edit("if a:", "if a is None:"), edit("if a:", "if a is not None:"), "differs:edit"),
        (edit("x", f"{LOOP * 9}    return 1"), edit("x", f"{LOOP * 9}    return 2"), "differs:edit"),
        (edit("x", f"{LOOP * 9}    ok = True"), edit("x", f"{LOOP * 9}    ok = False"), "differs:edit"),
        (edit("a", "b"), edit("b", "a"), "differs:edit"),
        (edit("def f():\n    return a", "def f():\n    return b"),
         edit("def g():\n    return a", "def g():\n    return b"), "differs:edit"),
        (edit(LOOP, LOOP + "    done()"), edit(LOOP, LOOP + "        done()"), "differs:edit"),
        (edit("", "b"), edit("a", "b"), "differs:edit"),
        (edit("a", "b", path="/repo/src/app/views.py"), edit("a", "b"), "target_mismatch:path"),
        (create("a = 1\nb = 2\n" * 9 + "c = 3\n"), create("a = 1\nb = 2\n" * 9 + "c = 4\n"), "differs:edit"),
        (create("a\nb"), create("a\n    b"), "differs:edit"),
        (create("x"), edit("x", "x"), "target_mismatch:sub_command"),
        (create("x"), insert(0, "x"), "target_mismatch:sub_command"),
        (create("x"), view(), "target_mismatch:sub_command"),
        (insert(3, "import os"), edit("x", "import os"), "target_mismatch:sub_command"),
        (insert(3, "import os"), insert(4, "import os"), "target_mismatch:place"),
        (insert(3, "import os"), insert(3, "import re"), "differs:edit"),
    ],
)  # fmt: skip
def test_edits_that_change_something_else_differ(actual: Action, expected: Action, reason: str) -> None:
    for verdict in (judged(actual, expected), judged(expected, actual)):
        assert (verdict.reward, verdict.reason) == (0.0, reason)
        assert verdict.status == ("undecided" if reason == "differs:edit" else "decided")


def test_of_a_patch_only_the_changed_lines_count() -> None:
    around = "".join(f" line {number}\n" for number in range(30))

    def patch(new: str, context: str = around) -> Action:
        body = f"*** Begin Patch\n*** Update File: {MODELS}\n@@\n{context}-    return None\n+    return {new}\n"
        return call("apply_patch", patch=body + "*** End Patch")

    assert judged(patch("total"), patch("total", " line 29\n")).used == ("edit_likeness",)
    assert judged(patch("total"), patch("count")).reason == "differs:edit"
    # A file that holds a patch is a text as any other.
    assert judged(create("+++ b\n1\n"), create("+++ b\n2\n")).reason == "differs:edit"


@pytest.mark.parametrize(
    ("actual", "expected", "reason", "used"),
    [
        (call("finish"), call("finish", message="All done."), "match", ("farewell",)),
        (call("finish", message="Fixed."), call("submit"), "match", ("farewell",)),
        (call("submit", answer="42"), call("submit", answer="42"), "match", ()),
        (call("submit", answer="42"), call("submit", answer="43"), "differs:result", ()),
        (call("submit"), call("submit", flag="f{1}"), "differs:result", ()),
        (call("submit_patch", patch="-a\n+b"), call("submit_patch", patch="-a\n+c"), "differs:result", ()),
        (call("finish"), call("think", thought="All done."), "name_mismatch", ()),
        (call("think", thought="The parser drops the last token of a line."),
         call("think", thought="The last token of each line is dropped by the parser."), "match", ("prose",)),
        (call("think", thought="The parser drops the last token of a line."),
         call("think", thought="Tests fail since no database is running."), "differs:thought", ()),
        (call("todo_write", todos=["reproduce the bug", "fix the parser"]),
         call("update_plan", steps=["reproduce the bug", "fix the parser"]), "match", ("prose",)),
        (call("todo_write", todos=["reproduce the bug", "fix the parser"]),
         call("todo_write", todos=["write documentation", "submit"]), "differs:plan", ()),
        (call("deploy", env="a"), call("deploy", env="a"), "match", ()),
        (call("deploy", env="a"), call("deploy", env="b"), "differs:arguments", ()),
        (call("deploy", env="a"), call("rollback", env="a"), "name_mismatch", ()),
        (call("scroll_up"), call("scroll_down"), "target_mismatch:kind", ()),
        (bash("make test"), bash("make all"), "differs:command", ()),
        (bash("make test"), call("think", thought="make test"), "name_mismatch", ()),
        (bash("cat > a.py <<'E'\nx\nE"), create("x\n", path="a.py"), "differs:command", ()),
        (bash("sed -i s/a/b/ a.py"), view(path="a.py"), "differs:command", ()),
        (Action("Done."), bash("ls"), "kind_mismatch:message", ()),
        (bash("ls"), Action("Which one?"), "kind_mismatch:call", ()),
        (text("ls"), bash("ls"), "kind_mismatch:message", ()),
        (Action("No command."), text("ls"), "kind_mismatch:message", ()),
        (Action(None, (*bash("ls").calls, *view().calls)), bash("ls"), "call_count", ()),
        (Action(None, (ToolCall("bash", '{"a": NaN}'),)), bash("ls"), "unreadable:not_finite", ()),
    ],
)  # fmt: skip
def test_reasons(actual: Action, expected: Action, reason: str, used: tuple[str, ...]) -> None:
    verdict = judged(actual, expected)
    assert (verdict.reward, verdict.reason, verdict.used) == (float(reason == "match"), reason, used)
    assert verdict.status == ("undecided" if reason.startswith("differs:") else "decided")


def test_several_calls_are_compared_in_order() -> None:
    both = Action(None, (*bash("ls -la").calls, *view().calls))
    again = Action(None, (*bash("ls -a -l").calls, *bash(f"cat {MODELS}").calls))
    assert judged(again, both).used == ("across_tools", "flag_clusters", "flag_order")
    assert judged(Action(None, again.calls[::-1]), both).reward == 0.0


@pytest.mark.parametrize(
    ("switch", "off", "actual", "expected"),
    [
        ("across_tools", False, bash(f"cat {MODELS}"), view()),
        ("across_tools", False, bash("grep -rn x src"), call("grep", pattern="x", path="src")),
        ("flag_order", False, bash("ls -l -a"), bash("ls -a -l")),
        ("cat_pipe", False, bash("cat f | grep x"), bash("grep x f")),
        ("quoting", False, bash("pytest 'a.py'"), bash("pytest a.py")),
        (
            "prose",
            1.0,
            call("think", thought="The parser drops a token."),
            call("think", thought="A token is dropped."),
        ),
    ],
)
def test_a_switch_that_was_used_is_needed(switch: str, off: Any, actual: Action, expected: Action) -> None:
    verdict = judged(actual, expected)
    assert (verdict.reward, switch in verdict.used) == (1.0, True)
    assert judged(actual, expected, **{switch: off}).reward == 0.0


def test_one_tool_is_compared_the_same_way_without_the_switch() -> None:
    off = {"across_tools": False}
    assert judged(view(1, 40), view(1, 41), **off).used == ("view_range",)
    assert judged(view(1, 40), view(200, 240), **off).reason == "target_mismatch:lines"
    assert judged(view(), create("x"), **off).reason == "target_mismatch:sub_command"
    assert judged(call("scroll_up"), call("scroll_down"), **off).reason == "target_mismatch:kind"
    assert judged(bash("cat a.py"), bash("head a.py"), **off).reason == "differs:command"
    assert judged(bash("cat a.py"), call("read", path="a.py"), **off).reason == "name_mismatch"


def test_likeness_of_edits_is_a_switch() -> None:
    """Of 6 tokens taken away and added on one side, and 8 on the other, 6 are common to both: 12 / 14."""
    actual, expected = edit("a\nb\nc", "d\ne\nf"), edit("a\nb\nc", "d\ne\nf\ng")
    assert judged(actual, expected, full=0.85, partial=0.85).used == ("edit_likeness",)
    assert judged(actual, expected, full=0.86, partial=0.86).reason == "differs:edit"
