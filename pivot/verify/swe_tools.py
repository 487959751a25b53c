"""Steps of coding agents: one call of one of many differently named tools, read into what it does and to what.

Categories are those of NeMo-Gym: edit, bash, search, read, planning, finish, think. An editor that also views files is
an editor, whatever its sub-command; a tool that no list names has the empty category.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import ToolCall
from pivot.verify.words import word_set

EDIT, BASH, SEARCH, READ, PLANNING, FINISH, THINK = "edit", "bash", "search", "read", "planning", "finish", "think"
_NAMES: Mapping[str, frozenset[str]] = {
    EDIT: word_set(
        """
        str_replace_editor str_replace_based_edit_tool file_editor text_editor editor edit edit_file editfile
        str_replace replace search_replace search_and_replace find_and_replace replace_in_file apply_diff apply_patch
        patch write write_file write_to_file save_file create create_file new_file insert insert_content insert_line
        append append_file multi_edit multiedit edit_notebook notebook_edit notebookedit delete_file remove_file
        undo_edit string_replace replace_string_in_file insert_edit_into_file edit_block file_edit file_write
        """
    ),
    BASH: word_set(
        """
        bash execute_bash run_bash shell run_shell run_shell_command shell_command local_shell execute_shell terminal
        run_in_terminal run_terminal_cmd run_terminal_command run run_command run_cmd execute_command exec_command
        execute exec cmd command container_exec bash_command execute_cmd
        """
    ),
    SEARCH: word_set(
        """
        search grep grep_search glob glob_search find find_file find_files find_by_name search_file search_dir
        search_files search_code search_in_files search_directory codebase_search code_search file_search ripgrep rg
        list_code_definition_names search_repo semantic_search
        """
    ),
    READ: word_set(
        """
        read read_file readfile read_files open open_file view view_file view_code cat show_file get_file_contents
        list_dir list_directory list_files ls goto scroll_up scroll_down file_read file_viewer read_many_files
        """
    ),
    PLANNING: word_set(
        """
        todo_write todowrite todo_read todoread write_todos read_todos task_tracker update_plan plan create_plan
        planning update_todo_list manage_todo_list
        """
    ),
    FINISH: word_set(
        "finish submit done complete attempt_completion task_done task_complete final_answer exit submit_patch"
    ),
    THINK: word_set("think thinking thought reason sequential_thinking sequentialthinking reflect"),
}
_CATEGORY = {name: category for category, names in _NAMES.items() for name in names}

VIEW, CREATE, REPLACE, INSERT, LINES, UNDO, DELETE = (
    "view",
    "create",
    "str_replace",
    "insert",
    "lines",
    "undo_edit",
    "delete",
)
_SUB_COMMANDS = frozenset((VIEW, CREATE, REPLACE, INSERT, UNDO, DELETE))
_KIND_WORDS = (
    ("undo", UNDO), ("delete", DELETE), ("remove", DELETE), ("insert", INSERT), ("append", INSERT), ("create", CREATE),
    ("write", CREATE), ("save", CREATE), ("new_file", CREATE),
)  # fmt: skip

_PATH = (
    "path", "file_path", "filepath", "filename", "file_name", "target_file", "file", "relative_path", "absolute_path",
    "relative_workspace_path", "notebook_path", "directory", "dir", "dir_path", "directory_path",
)  # fmt: skip
_OLD = ("old_str", "old_string", "old_text", "search", "old", "find", "old_code")
_NEW = (
    "new_str", "new_string", "new_text", "replace", "replacement_text", "replacement", "file_text", "content",
    "contents", "code_edit", "new_content", "new", "text", "patch", "input", "diff", "code", "new_source",
)  # fmt: skip
_COMMAND = ("command", "cmd", "script", "commands", "input", "code")
_QUERY = ("query", "pattern", "search_term", "regex", "keyword", "term", "search", "name", "glob", "glob_pattern")
_FIRST = ("start_line", "line_start", "start", "offset", "start_line_one_indexed")
_LAST = ("end_line", "line_end", "end", "end_line_one_indexed_inclusive")
_PATCHED = re.compile(r"^(?:\*\*\* (?:Update|Add|Delete) File: |\+\+\+ (?:b/)?)(\S.{0,500})$", re.M)
_WINDOW = 100  # lines that SWE-agent shows around the one that it goes to
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST = 1_000_000
_MOST_LINES = 10**9

Lines = tuple[float, float]


class BadStep(ValueError):
    """A call that cannot be read; `reason` is machine-readable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a coding agent.

    Attributes:
        name: The tool as it was called.
        category: One of the seven, or empty for an unknown tool.
        kind: What an editor does (`view`, `create`, `str_replace`, `insert`, `lines`, …), what a search looks through
            (`files`, `content`, `open_file`); else empty.
        path: The file or folder; empty where the call names none.
        lines: First and last line that is shown or replaced; None for all.
        old: The text that an edit replaces.
        new: The text that it writes.
        command: What a shell is to run.
        query: What is searched for.
        arguments: All arguments as JSON with sorted keys.
    """

    name: str
    category: str
    kind: str = ""
    path: str = ""
    lines: Lines | None = None
    old: str = ""
    new: str = ""
    command: str = ""
    query: str = ""
    arguments: str = ""


def bare_name(name: str) -> str:
    """A tool's name without name spaces, in lower case with underscores: `mcp__fs__ReadFile` is `read_file`."""
    last = re.split(r"__|[./:]", name[:200].rstrip("_./:"))[-1]
    return _CAMEL.sub("_", last).replace("-", "_").replace(" ", "_").lower()


def category_of(name: str) -> str:
    """The category of a tool, empty for an unknown one."""
    bare = bare_name(name)
    return _CATEGORY.get(bare) or _CATEGORY.get(bare.replace("_", ""), "")


def read_call(call: ToolCall) -> Step:
    """The step that a call is; raises `BadStep` with `strict_json`'s reasons and `too_long`."""
    if len(call.arguments) > _LONGEST:
        raise BadStep("too_long")
    try:
        arguments = decode_object(call.arguments if call.arguments.strip() else "{}")
    except BadJson as error:
        raise BadStep(error.reason) from None
    return step_of(call.name, arguments)


def step_of(name: str, arguments: Mapping[str, Any]) -> Step:
    """The step that a tool with decoded arguments takes."""
    category = category_of(name)
    written = json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    plain = {key.lower(): value for key, value in arguments.items()}
    if category == BASH:
        return Step(name=name, category=category, command=_command(plain), arguments=written)
    if category == SEARCH:
        return _search(name, plain, written)
    if category == READ:
        return Step(name=name, category=category, path=_text(plain, _PATH), lines=_lines(plain), arguments=written)
    if category == EDIT:
        return _edit(name, plain, written)
    return Step(name=name, category=category, arguments=written)


def _text(arguments: Mapping[str, Any], keys: Sequence[str]) -> str:
    for key in keys:
        if isinstance(arguments.get(key), str):
            return str(arguments[key])
    return ""


def _command(arguments: Mapping[str, Any]) -> str:
    for key in _COMMAND:
        value = arguments.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            # An argument vector; with a shell in front, the script behind it.
            return str(value[-1]) if len(value) == 3 and value[1] in ("-c", "-lc") else " ".join(value)
    return ""


def _search(name: str, arguments: Mapping[str, Any], written: str) -> Step:
    bare = bare_name(name)
    files = bare.startswith(("find", "glob", "file_search")) or "by_name" in bare
    query = _text(arguments, _QUERY)
    path = _text(arguments, _PATH)
    if files and not query and "file_name" in arguments:
        query, path = _text(arguments, ("file_name",)), _text(arguments, ("dir", "path", "directory"))
    # `search_file` without a file searches the one that is open.
    kind = "files" if files else "open_file" if bare == "search_file" and not path else "content"
    return Step(name=name, category=SEARCH, kind=kind, path=path, query=query, arguments=written)


def _edit(name: str, arguments: Mapping[str, Any], written: str) -> Step:
    bare = bare_name(name)
    kind = _text(arguments, ("command",))
    lines = _lines(arguments)
    if kind not in _SUB_COMMANDS:
        kind = next((kind for word, kind in _KIND_WORDS if word in bare), REPLACE)
        if kind == REPLACE and lines is not None and not _text(arguments, _OLD):
            kind = LINES
    if kind == INSERT and (line := _number(arguments, ("insert_line", "line"))) is not None:
        lines = (float(line), float(line))
    old, new = _texts(arguments)
    path = _text(arguments, _PATH)
    if not path and (found := _PATCHED.search(new)) is not None:
        path = found[1].strip()
    return Step(name=name, category=EDIT, kind=kind, path=path, lines=lines, old=old, new=new, arguments=written)


def is_patch(text: str) -> bool:
    """Whether a text is a patch that names its file."""
    return _PATCHED.search(text) is not None


def _texts(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Old and new text; of several edits in one call all, in order."""
    several = arguments.get("edits")
    if isinstance(several, list) and several and all(isinstance(edit, dict) for edit in several):
        return "\n".join(_text(edit, _OLD) for edit in several), "\n".join(_text(edit, _NEW) for edit in several)
    return _text(arguments, _OLD), _text(arguments, _NEW)


def _number(arguments: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    for key in keys:
        value = arguments.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return max(min(value, _MOST_LINES), -_MOST_LINES)  # larger ones are no floats
    return None


def _lines(arguments: Mapping[str, Any]) -> Lines | None:
    """First and last line; -1 and a missing end are the end of the file."""
    given = arguments.get("view_range", arguments.get("line_range"))
    if isinstance(given, list) and len(given) == 2 and all(isinstance(end, int) for end in given):
        return span(given[0], given[1])
    if (line := _number(arguments, ("line_number",))) is not None:
        return window(line)
    first, last = _number(arguments, _FIRST), _number(arguments, _LAST)
    if last is None and (limit := _number(arguments, ("limit",))) is not None:
        last = (first or 1) + limit - 1
    return None if first is None and last is None else span(first or 1, -1 if last is None else last)


def span(first: int, last: int) -> Lines:
    """Lines from the first to the last; a negative last is the end of the file."""
    return float(min(max(first, 1), _MOST_LINES)), math.inf if last < 0 else float(min(last, _MOST_LINES))


def window(line: int) -> Lines:
    """What is shown around a line."""
    first = max(line - _WINDOW // 2, 1)
    return float(first), float(first + _WINDOW - 1)
