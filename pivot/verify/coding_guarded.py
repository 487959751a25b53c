"""Our comparison of coding agents' steps: the same kind of step, on the same target, with the same effect."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pivot.verify.coding_bash import same_command
from pivot.verify.coding_edits import same_edit
from pivot.verify.coding_paths import components, same_end
from pivot.verify.coding_tools import (
    BASH,
    EDIT,
    FINISH,
    PLANNING,
    READ,
    SEARCH,
    THINK,
    UNKNOWN,
    Step,
    values_text,
)
from pivot.verify.types import MATCH, UNDECIDED, Verdict, reject
from pivot.verify.words import overlap, topic

_COVERAGE = 0.8
_NEAR = 50  # half of the window that an agent's file viewer shows
_LEAST_TOPIC = 0.3
_LONGEST_PROSE = 5000
_FINDS_FILES = frozenset("find_file find_files glob glob_tool file_search file_glob_search".split())
_PROSE = frozenset("message summary result text reason comment comments description output".split())
_TELLS_NOTHING = frozenset("thought explanation reasoning security_risk is_input timeout".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """In what equal steps may differ. Not symmetric: `line_cover`.

    Attributes:
        tool_names: Another tool of the same kind: `bash` is `execute_bash`, the editor's `view` is `read_file`.
        short_path: `src/a.py` is `/testbed/src/a.py`.
        line_cover: Lines read that hold four fifths of the expert's.
        edit_layout: Blank lines, blanks at the ends of lines, whole-line comments, the kind of quotes.
        edit_context: Lines around an edit that stay as they are.
        local_names: The names of variables that an edit brings in.
        similar_edit: Texts `alike` enough, with the same names, numbers and operators.
        alike: See `similar_edit`.
        shell: Shell equivalence; verdicts name its switches.
        home_cd: `cd /testbed && c` is `c`.
        python_name: `python3` is `python`; `python -m pytest` is `pytest`.
        output_form: Options that only change what is shown; the end of a test run's output.
        thought_topic: Thoughts and plans on the same topic.
        closing_text: The message with which the agent finishes.
    """

    tool_names: bool = True
    short_path: bool = True
    line_cover: bool = True
    edit_layout: bool = True
    edit_context: bool = True
    local_names: bool = True
    similar_edit: bool = True
    alike: float = 0.8
    shell: bool = True
    home_cd: bool = True
    python_name: bool = True
    output_form: bool = True
    thought_topic: bool = True
    closing_text: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.alike <= 1.0:
            raise ValueError("alike must be above 0 and up to 1")

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(item.name for item in fields(Guards) if getattr(self, item.name) is True)


class _Different(Exception):
    """Why two steps differ."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


class Guard:
    """Compares steps under some switches."""

    def __init__(self, options: Guards) -> None:
        self._on = options.on()
        self._alike = options.alike

    def compare(self, actual: Step, expected: Step) -> Verdict:
        """1 for steps of the same effect; undecided, at 0, where somebody who reads them may know better.

        Reasons: `match`, `category_mismatch`, `tool_mismatch`, `operation_mismatch`, `path_mismatch`,
        `lines_mismatch`, `pattern_mismatch`, `answer_mismatch`, `no_command`, `not_alike`, `unknown_tool`.
        """
        try:
            used = self._used(actual, expected)
        except _Different as different:
            return different.verdict
        return Verdict(1.0, "match", used=tuple(sorted(used))) if used else MATCH

    def _used(self, actual: Step, expected: Step) -> set[str]:
        kind = _kind(expected)
        if kind == UNKNOWN or _kind(actual) != kind:
            return self._unlike(actual, expected)
        used: set[str] = set()
        if actual.name != expected.name:
            self._need("tool_names", used, reject("tool_mismatch", actual.name))
        compare = {
            EDIT: self._edit, BASH: self._bash, SEARCH: self._search, READ: self._read, PLANNING: self._plan,
            FINISH: self._finish, THINK: self._think,
        }[kind]  # fmt: skip
        compare(actual, expected, used)
        return used

    def _unlike(self, actual: Step, expected: Step) -> set[str]:
        if _kind(actual) == _kind(expected) and actual.name == expected.name:
            if actual.arguments == expected.arguments:
                return set()
            raise _Different(Verdict(0.0, "unknown_tool", status=UNDECIDED))
        raise _Different(reject("category_mismatch", _kind(actual) or "unknown"))

    def _need(self, switch: str, used: set[str], otherwise: Verdict) -> None:
        if switch not in self._on:
            raise _Different(otherwise)
        used.add(switch)

    def _path(self, actual: Step, expected: Step, used: set[str]) -> None:
        mine, theirs = (components(step.path or "") for step in (actual, expected))
        if mine == theirs:
            return
        absolute = [bool(step.path and step.path.startswith("/")) for step in (actual, expected)]
        if not mine or not theirs or all(absolute) or not same_end(mine, theirs):
            raise _Different(reject("path_mismatch"))
        self._need("short_path", used, reject("path_mismatch"))

    def _edit(self, actual: Step, expected: Step, used: set[str]) -> None:
        if actual.operation != expected.operation:
            raise _Different(reject("operation_mismatch", actual.operation))
        self._path(actual, expected, used)
        if actual.place != expected.place or actual.lines != expected.lines:
            raise _Different(reject("lines_mismatch"))
        if expected.old is None and expected.new is None:
            self._same_arguments(actual, expected)
            return
        mine, theirs = ((step.old or "", step.new or "") for step in (actual, expected))
        found = same_edit(mine, theirs, expected.path or "", self._on, self._alike)
        if found is None:
            raise _Different(Verdict(0.0, "not_alike", status=UNDECIDED))
        used.update(found)

    def _bash(self, actual: Step, expected: Step, used: set[str]) -> None:
        if actual.command is None or expected.command is None:
            if actual.command is None and expected.command is None and actual.arguments == expected.arguments:
                return
            raise _Different(reject("no_command"))
        found = same_command(actual.command, expected.command, self._on)
        if found is None:
            raise _Different(Verdict(0.0, "not_alike", status=UNDECIDED))
        used.update(found)

    def _search(self, actual: Step, expected: Step, used: set[str]) -> None:
        if (actual.name.lower() in _FINDS_FILES) != (expected.name.lower() in _FINDS_FILES):
            raise _Different(reject("tool_mismatch", actual.name))
        self._path(actual, expected, used)
        if (actual.pattern or "").strip() != (expected.pattern or "").strip():
            raise _Different(Verdict(0.0, "pattern_mismatch", status=UNDECIDED))
        if actual.name == expected.name:
            self._same_arguments(actual, expected)

    def _read(self, actual: Step, expected: Step, used: set[str]) -> None:
        self._path(actual, expected, used)
        if not expected.path and actual.name != expected.name:
            raise _Different(reject("tool_mismatch", actual.name))
        places = [(step.arguments or {}).get("line_number") for step in (actual, expected)]
        if places[0] != places[1]:
            if not all(isinstance(place, int) for place in places) or abs(places[0] - places[1]) > _NEAR:
                raise _Different(reject("lines_mismatch"))
            self._need("line_cover", used, reject("lines_mismatch"))
        if actual.lines != expected.lines:
            held = actual.lines is None or (
                expected.lines is not None and actual.lines.coverage(expected.lines) >= _COVERAGE
            )
            if not held:
                raise _Different(reject("lines_mismatch"))
            self._need("line_cover", used, reject("lines_mismatch"))

    def _plan(self, actual: Step, expected: Step, used: set[str]) -> None:
        if actual.operation != expected.operation:
            raise _Different(reject("operation_mismatch", actual.operation))
        self._think(actual, expected, used)

    def _think(self, actual: Step, expected: Step, used: set[str]) -> None:
        if actual.arguments == expected.arguments:
            return
        mine, theirs = (values_text(step.arguments, _LONGEST_PROSE) for step in (actual, expected))
        if overlap(topic(mine), topic(theirs)) < _LEAST_TOPIC:
            raise _Different(Verdict(0.0, "not_alike", status=UNDECIDED))
        self._need("thought_topic", used, reject("not_alike"))

    def _finish(self, actual: Step, expected: Step, used: set[str]) -> None:
        mine, theirs = (step.arguments or {} for step in (actual, expected))
        if mine == theirs:
            return
        if _told(mine) != _told(theirs):
            raise _Different(Verdict(0.0, "answer_mismatch", status=UNDECIDED))
        self._need("closing_text", used, Verdict(0.0, "not_alike", status=UNDECIDED))

    def _same_arguments(self, actual: Step, expected: Step) -> None:
        """Whatever else the arguments say, but for paths and patterns, which are compared by now."""
        mine, theirs = (_rest(step) for step in (actual, expected))
        if mine != theirs:
            raise _Different(Verdict(0.0, "not_alike", status=UNDECIDED))


def _kind(step: Step) -> str:
    return READ if step.category == EDIT and step.operation == "view" else step.category


def _told(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in arguments.items() if key not in _PROSE and key not in _TELLS_NOTHING}


def _rest(step: Step) -> dict[str, Any]:
    known = {step.path, step.pattern}
    return {
        key: value
        for key, value in (step.arguments or {}).items()
        if value is not None and key not in _TELLS_NOTHING and not (isinstance(value, str) and value in known)
    }
