"""A coding agent's call as a step: what kind of tool, which file, which lines, which texts.

Agents name the same tools in many ways; the tables below list the names and argument keys of the well-known ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.strict_json import decode_object
from pivot.trajectory.types import ToolCall
from pivot.verify.coding_paths import Lines, read_lines

EDIT, BASH, SEARCH, READ, PLANNING, FINISH, THINK = "edit", "bash", "search", "read", "planning", "finish", "think"
UNKNOWN = ""
_NAMES = {
    EDIT: """
        edit edit_file file_edit file_editor editor str_replace_editor str_replace_based_edit_tool str_replace string_replace
        search_replace search_and_replace replace replace_in_file multi_edit insert insert_line insert_edit_into_file append
        append_file create create_file new_file write write_file write_to_file save_file file_write apply_patch apply_diff
        patch modify_file update_file undo_edit delete_file notebook_edit edit_notebook edit_anthropic replace_string_in_file
        """,
    BASH: """
        bash bash_tool execute_bash run_bash bash_command run_bash_command shell shell_command run_shell run_shell_command
        local_shell terminal run_terminal_cmd run_in_terminal run_command run_commands execute_command execute_shell_command
        exec exec_command execute run cmd command cmd_run container.exec bash_20241022 bash_20250124
        """,
    SEARCH: """
        search search_dir search_file search_files search_in_file search_in_files search_code search_repo search_repository
        search_codebase search_class search_method search_file_content code_search codebase_search semantic_search grep
        grep_search grep_tool grep_files ripgrep rg find find_file find_files file_search file_glob_search glob glob_tool
        """,
    READ: """
        read read_file read_files file_read read_many_files open open_file view view_file file_view view_source cat show_file
        get_file get_file_contents goto scroll_up scroll_down ls list list_dir list_directory list_files view_directory
        """,
    PLANNING: """
        plan planning update_plan create_plan make_plan task_tracker todo todos todo_write todo_read write_todos update_todo
        update_todo_list update_todos manage_todo_list task_list
        """,
    FINISH: """
        finish finish_task submit submit_solution submit_patch complete complete_task task_complete task_done done
        attempt_completion mark_complete final_answer exit
        """,
    THINK: "think thought thinking think_tool reflect sequential_thinking",
}


def _bare(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


_CATEGORIES = {_bare(name): category for category, names in _NAMES.items() for name in names.split()}
_LONGEST_NAME = 80

_PATHS = (
    "path file_path filepath filename target_file absolute_path abs_path relative_path relative_workspace_path "
    "notebook_path target_notebook file dir directory dir_path dir_name directory_path target_directory folder"
).split()
_FILE_NAMES = "file_name name".split()  # of a search this is what it looks for
_COMMANDS = "command cmd script commands bash_command code input".split()
_OLD = "old_str old_string old_text old_code old search find search_text original original_text".split()
_NEW = (
    "new_str new_string new_text new_code new replace replacement replacement_text file_text file_content content "
    "contents text insert_text code_edit patch diff input"
).split()
_PATTERNS = "pattern query regex search_term search_pattern term keyword glob_pattern search file_name name".split()
_PLACES = "insert_line line line_number insert_line_number".split()
# Editor sub-commands and tools that are one operation each.
_OPERATIONS = {
    "view": "view", "viewfile": "view", "create": "create", "createfile": "create", "newfile": "create",
    "write": "create", "writefile": "create", "writetofile": "create", "savefile": "create", "filewrite": "create",
    "strreplace": "str_replace", "stringreplace": "str_replace", "searchreplace": "str_replace",
    "searchandreplace": "str_replace", "replaceinfile": "str_replace", "replacestringinfile": "str_replace",
    "insert": "insert", "insertline": "insert", "undoedit": "undo_edit", "deletefile": "delete",
    "append": "append", "appendfile": "append", "applypatch": "patch", "applydiff": "patch", "patch": "patch",
}  # fmt: skip
_CREATES = ("file_text", "file_content", "content", "contents")


@dataclass(frozen=True, slots=True)
class Step:
    """One call, read.

    Attributes:
        name: The tool's name as it is spelled.
        category: One of the categories, empty for an unknown tool.
        operation: An editor's or planner's sub-command, said or implied; empty for none.
        path: The file or folder that it is about.
        lines: The lines that it reads or replaces.
        place: The line behind which it inserts.
        old: An edit's text to replace.
        new: An edit's new text.
        command: What a shell runs.
        pattern: What a search looks for.
        arguments: All arguments, decoded.
    """

    name: str
    category: str
    operation: str = ""
    path: str | None = None
    lines: Lines | None = None
    place: int | None = None
    old: str | None = None
    new: str | None = None
    command: str | None = None
    pattern: str | None = None
    arguments: Mapping[str, Any] | None = None


def category(name: str) -> str:
    """What kind of tool a name names; empty for an unknown one."""
    return _CATEGORIES.get(_bare(name[:_LONGEST_NAME]), UNKNOWN)


def _text(arguments: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    return next((arguments[key] for key in keys if isinstance(arguments.get(key), str)), None)


def _whole(arguments: Mapping[str, Any], keys: Sequence[str]) -> int | None:
    found = (arguments.get(key) for key in keys)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def read_call(call: ToolCall) -> Step:
    """The step that a call takes; raises `BadJson` where its arguments are no JSON object."""
    return read_step(call.name, decode_object(call.arguments))


def read_step(name: str, arguments: Mapping[str, Any]) -> Step:
    """The step of a tool's name and decoded arguments."""
    kind = category(name)
    path = _text(arguments, _PATHS if kind == SEARCH else [*_PATHS, *_FILE_NAMES])
    step = Step(name, kind, path=path, lines=read_lines(arguments), arguments=arguments)
    if kind == BASH:
        return Step(name, kind, command=_command(arguments), arguments=arguments)
    if kind == UNKNOWN:
        return Step(name, kind, arguments=arguments)
    if kind == SEARCH:
        return Step(name, kind, path=path, pattern=_text(arguments, _PATTERNS), arguments=arguments)
    said = arguments.get("command")
    if kind != EDIT:
        operation = said if isinstance(said, str) and kind == PLANNING else ""
        return Step(name, kind, operation, path, step.lines, arguments=arguments)
    old, new = _text(arguments, _OLD), _text(arguments, _NEW)
    return Step(
        name, kind, _operation(name, arguments, old), path, step.lines, _whole(arguments, _PLACES), old, new,
        arguments=arguments,
    )  # fmt: skip


def _operation(name: str, arguments: Mapping[str, Any], old: str | None) -> str:
    said = arguments.get("command")
    if isinstance(said, str):
        return _OPERATIONS.get(_bare(said[:_LONGEST_NAME]), said)
    if known := _OPERATIONS.get(_bare(name[:_LONGEST_NAME])):
        return known
    if old is not None:
        return "str_replace"
    return "create" if any(key in arguments for key in _CREATES) else ""


def _command(arguments: Mapping[str, Any]) -> str | None:
    for key in _COMMANDS:
        value = arguments.get(key)
        if isinstance(value, str):
            return value
        if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
            return " ".join(value)
    return None


def values_text(value: Any, longest: int) -> str:
    """The values of decoded arguments, by their keys' order, as one text; iterative, and cut.

    Keys are left out: they say nothing of what a call does, and would make any two calls of a tool alike.
    """
    parts: list[str] = []
    left = longest
    waiting = [value]
    while waiting and left > 0:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting.extend(item[key] for key in sorted(item, reverse=True))
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        else:
            text = item[:left] if isinstance(item, str) else str(item)[:left]
            parts.append(text)
            left -= len(text) + 1
    return " ".join(parts)[:longest]
