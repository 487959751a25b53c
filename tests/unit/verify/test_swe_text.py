"""Text actions of SWE-agent: a thought, and a command of its own shell."""

import pytest

from pivot.trajectory import Action
from pivot.verify import Context, build
from pivot.verify.swe_text import last_block, read_steps
from pivot.verify.swe_tools import Step, step_of
from tests.unit.verify.swe_steps import judged, text


def test_commands_in_texts_that_differ_are_decided_unless_a_judge_follows() -> None:
    """A verifier of messages behind this one would pay for the same thought before any command."""
    both = build("swe:guarded | message:guarded")(text("rm -rf x"), text("ls"), Context())
    assert (both.reward, both.reason) == (0.0, "differs:command")
    assert judged(text("rm -rf x"), text("ls")).status == "decided"
    assert judged(text("rm -rf x"), text("ls"), open_texts=True).status == "undecided"
    assert judged(text("ls", "Hm."), text("ls"), open_texts=True).reason == "match"


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("Look.\n```\nls -la\n```", "ls -la"),
        ("Look.\n```bash\nls -la\n```\n", "ls -la"),
        ("```ls -la```", "ls -la"),
        ("```\nls\n```\nor\n```\npwd\n```", "pwd"),
        ("```\n\n```", None),
        ("```", None),
        ("No command.", None),
        ("", None),
    ],
)
def test_the_command_of_a_text_stands_in_its_last_fences(content: str, command: str | None) -> None:
    assert last_block(content) == command
    steps = read_steps(Action(content))
    assert steps is None if command is None else steps is not None and steps[0].command == command


@pytest.mark.parametrize(
    ("command", "step"),
    [
        ("open a.py", Step(name="open", category="read", path="a.py")),
        ("open a.py 200", Step(name="open", category="read", path="a.py", lines=(150.0, 249.0))),
        ("goto 20", Step(name="goto", category="read", lines=(1.0, 100.0))),
        ("scroll_down", Step(name="scroll_down", category="read", arguments="scroll_down")),
        ("edit 4:6\nx = 1\nend_of_edit",
         Step(name="edit", category="edit", kind="lines", lines=(4.0, 6.0), new="x = 1\n")),
        ("edit 'a' 'b'", step_of("edit", {"search": "a", "replace": "b"})),
        ("create a.py", step_of("create", {"path": "a.py"})),
        ("search_dir 'class Foo' src", step_of("search_dir", {"search_term": "class Foo", "dir": "src"})),
        ("find_file a.py", step_of("find_file", {"file_name": "a.py"})),
        ("submit", step_of("submit", {})),
        ("submit 'flag{a}'", step_of("submit", {"answer": "flag{a}"})),
        ("str_replace_editor insert a.py --insert_line 3 --new_str x",
         step_of("str_replace_editor", {"command": "insert", "path": "a.py", "insert_line": 3, "new_str": "x"})),
        ("str_replace_editor view a.py --view_range 3 -1",
         step_of("str_replace_editor", {"command": "view", "path": "a.py", "view_range": [3, -1]})),
        *((command, Step(name="bash", category="bash", command=command)) for command in (
            "ls -la", "open a.py | cat", "open $FILE", "goto here", "edit 4", "scroll_down 5", "submit > x",
            "str_replace_editor view a.py --view_range 3", "str_replace_editor view a.py oops",
        )),
    ],
)  # fmt: skip
def test_commands_of_the_agents_own_shell_are_steps(command: str, step: Step) -> None:
    assert read_steps(text(command)) == (step,)
