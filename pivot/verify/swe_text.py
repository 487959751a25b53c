"""Text actions of SWE-agent: a thought, and the command between the last pair of ``` fences."""

from collections.abc import Callable, Sequence

from pivot.trajectory.types import Action
from pivot.verify.shell_script import Block, Simple, read_sequence
from pivot.verify.shell_tree import parse
from pivot.verify.swe_tools import BASH, LINES, BadStep, Step, read_call, span, step_of, window

_FENCE = "```"
_END_OF_EDIT = "end_of_edit"
_LONGEST = 200_000


def read_steps(action: Action) -> tuple[Step, ...] | None:
    """The steps of an action: its calls, or the command of its text; None for a message without one.

    Raises:
        BadStep: A call cannot be read.
    """
    if action.calls:
        return tuple(read_call(call) for call in action.calls)
    command = last_block(action.content or "")
    return None if command is None else (read_command(command),)


def last_block(content: str) -> str | None:
    """What stands between the last two fences, without a language behind the first."""
    end = content.rfind(_FENCE)
    start = content.rfind(_FENCE, 0, max(end, 0))
    if start < 0:
        return None
    first, newline, rest = content[start + len(_FENCE) : end].partition("\n")
    if not newline:
        return first.strip() or None
    return (rest if first.strip().isidentifier() or not first.strip() else f"{first}\n{rest}").strip("\n") or None


def read_command(command: str) -> Step:
    """The step that a command of the agent's own shell is; anything else is for bash."""
    if len(command) > _LONGEST:
        raise BadStep("too_long")
    first, _, rest = command.strip().partition("\n")
    name = first.split(None, 1)[0] if first.split() else ""
    if name == "edit" and (edited := _edited_lines(first, rest)) is not None:
        return edited
    reader = _READERS.get(name)
    words = _words(command.strip()) if reader is not None else None
    step = reader(name, words) if reader is not None and words is not None else None
    return step or Step(name=BASH, category=BASH, command=command.strip())


def _words(command: str) -> list[str] | None:
    """The words of one plain command behind its name."""
    tree = parse(command)
    items = read_sequence(tree.kids) if tree is not None else []
    if len(items) != 1 or len(items[0].chain.pipelines) != 1 or len(items[0].chain.pipelines[0].stages) != 1:
        return None
    stage = items[0].chain.pipelines[0].stages[0]
    if isinstance(stage, Block) or not isinstance(stage, Simple) or stage.redirects or stage.assignments:
        return None
    words = [word.literal for word in stage.args]
    return None if any(word is None for word in words) else [word or "" for word in words]


def _edited_lines(first: str, rest: str) -> Step | None:
    """`edit 4:6`, the new lines, and `end_of_edit`."""
    numbers = first.split(None, 1)[-1].strip().split(":")
    if len(numbers) != 2 or not all(number.isascii() and number.isdecimal() and len(number) < 10 for number in numbers):
        return None
    new = rest.rstrip("\n")
    new = new[: -len(_END_OF_EDIT)] if new.endswith(_END_OF_EDIT) else new
    return Step(name="edit", category="edit", kind=LINES, lines=span(int(numbers[0]), int(numbers[1])), new=new)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def _open(name: str, words: Sequence[str]) -> Step | None:
    line = _number(words[-1]) if words else None
    if len(words) == 1 and name == "open":
        return Step(name=name, category="read", path=words[0])
    if len(words) == 2 and name == "open" and line is not None:
        return Step(name=name, category="read", path=words[0], lines=window(line))
    if len(words) == 1 and name == "goto" and line is not None:
        return Step(name=name, category="read", lines=window(line))
    return None


def _scroll(name: str, words: Sequence[str]) -> Step | None:
    return None if words else Step(name=name, category="read", arguments=name)


def _search(name: str, words: Sequence[str]) -> Step | None:
    if not 1 <= len(words) <= 2:
        return None
    key = "file_name" if name == "find_file" else "search_term"
    return step_of(name, {key: words[0], **({"dir": words[1]} if len(words) == 2 else {})})


def _create(name: str, words: Sequence[str]) -> Step | None:
    return step_of(name, {"path": words[0]}) if len(words) == 1 else None


def _replace(name: str, words: Sequence[str]) -> Step | None:
    """`edit 'old' 'new'`, optionally with `replace-all`."""
    return step_of(name, {"search": words[0], "replace": words[1]}) if len(words) in (2, 3) else None


def _submit(name: str, words: Sequence[str]) -> Step | None:
    return step_of(name, {"answer": " ".join(words)} if words else {})


def _editor(name: str, words: Sequence[str]) -> Step | None:
    """`str_replace_editor view path --view_range 1 20` and the other sub-commands."""
    if len(words) < 2:
        return None
    arguments: dict[str, object] = {"command": words[0], "path": words[1]}
    at = 2
    while at < len(words):
        key = words[at].removeprefix("--")
        if key == words[at]:
            return None
        if key == "view_range":
            ends = [_signed(word) for word in words[at + 1 : at + 3]]
            if len(ends) != 2 or None in ends:
                return None
            arguments[key] = ends
            at += 3
            continue
        if at + 1 >= len(words):
            return None
        number = _number(words[at + 1]) if key == "insert_line" else None
        arguments[key] = words[at + 1] if number is None else number
        at += 2
    return step_of(name, arguments)


def _signed(text: str) -> int | None:
    number = _number(text.removeprefix("-"))
    return None if number is None else -number if text.startswith("-") else number


_READERS: dict[str, Callable[[str, Sequence[str]], Step | None]] = {
    "open": _open, "goto": _open, "scroll_up": _scroll, "scroll_down": _scroll, "find_file": _search,
    "search_dir": _search, "search_file": _search, "create": _create, "edit": _replace, "submit": _submit,
    "str_replace_editor": _editor,
}  # fmt: skip
