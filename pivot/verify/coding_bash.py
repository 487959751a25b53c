"""Shell commands of coding agents: shell equivalence, and how much of what a command shows is of no account."""

import re
import shlex
from collections.abc import Set

from pivot.verify.coding_paths import Lines, components, same_end
from pivot.verify.shell import ShellRelaxations, equivalent

_LONGEST = 4096
_COVERAGE = 0.8
_PLAIN = ShellRelaxations()
# What a command may run from: where agents start in the well-known images.
_HOME = re.compile(r"cd /(?:testbed|repo|app|project|workspace(?:/[\w.-]{1,100})?)/?[ \t]{0,8}&&[ \t]{0,8}(?=\S)")
_OPAQUE = ("\n", "<<", "`", "$(", "\\")
_PAGE = re.compile(r"[ \t]*(?:head|tail)(?:[ \t]+-n)?[ \t]*-?\d{1,6}[ \t]*|[ \t]*cat[ \t]*")
_RUNS = frozenset("pytest python make tox npm yarn cargo go mvn gradle".split())
_PYTHON = re.compile(r"python3?(?:\.\d{1,2})?")
_SED = re.compile(r"sed -n ['\"]?(\d{1,7}),(\d{1,7}|\$)p['\"]? ([\w./~-]{1,400})")
# Options that change what is shown, not what is done or found.
_SHOWN = {
    "pytest": frozenset(
        "-q -qq -v -vv -vvv -s -x --verbose --quiet -rA -ra -rf -rs --no-header --tb=short --tb=long --tb=no --tb=line "
        "--tb=auto --tb=native --color=no --color=yes --disable-warnings".split()
    ),
    "ls": frozenset("-l -a -la -al -lah -lh -alh -lha -F -1 -A -lA -h".split()),
    "cat": frozenset("-n -A".split()),
    "grep": frozenset("-n -H --line-number --color=never --color=auto --color".split()),
    "pip": frozenset("-q --quiet -v".split()),
    "make": frozenset("-s".split()),
}  # fmt: skip


def same_command(actual: str, expected: str, on: Set[str]) -> tuple[str, ...] | None:
    """The switches that make two commands one; None where they differ. Symmetric, but for `line_cover`.

    Args:
        actual: A command.
        expected: The expert's.
        on: Names of the switches that are on, of `Guards`.
    """
    if actual.strip() == expected.strip():
        return ()
    if max(len(actual), len(expected)) > _LONGEST:
        return None
    used: list[str] = []
    if "shell" in on and (found := equivalent(actual, expected, _PLAIN)) is not None:
        return found
    for switch, change in (("home_cd", _without_home), ("python_name", _python), ("output_form", _without_form)):
        if switch not in on:
            continue
        one, other = change(actual), change(expected)
        if (one, other) == (actual, expected):
            continue
        actual, expected = one, other
        used.append(switch)
        if actual == expected:
            return tuple(sorted(used))
        if "shell" in on and (found := equivalent(actual, expected, _PLAIN)) is not None:
            return tuple(sorted({*used, *found}))
    if "line_cover" in on and _covers(actual, expected):
        return tuple(sorted([*used, "line_cover"]))
    return None


def _without_home(command: str) -> str:
    return _HOME.sub("", command.strip(), count=1) if _HOME.match(command.strip()) else command.strip()


def _words(command: str) -> list[str] | None:
    """Words with their quotes, and operators; None for what is more than a line of plain commands."""
    if any(mark in command for mark in _OPAQUE):
        return None
    reader = shlex.shlex(command, posix=False, punctuation_chars=True)
    reader.whitespace_split = True
    reader.commenters = ""
    try:
        return list(reader)
    except ValueError:  # a quote that is never closed
        return None


def _python(command: str) -> str:
    """`python3 -m pytest` as `pytest`, `python3` as `python`, where a command begins."""
    words = _words(command)
    if words is None:
        return command
    found: list[str] = []
    begins, at = True, 0
    while at < len(words):
        word = words[at]
        if begins and _PYTHON.fullmatch(word):
            is_pytest = words[at + 1 : at + 3] == ["-m", "pytest"]
            found.append("pytest" if is_pytest else "python")
            at += 3 if is_pytest else 1
            begins = False
            continue
        begins = set(word) <= set("&|;")
        found.append(word)
        at += 1
    return " ".join(found)


def _without_form(command: str) -> str:
    """Without what only changes how much is shown: quietness, line numbers, the end of a test run's output."""
    words = _words(command)
    if words is None or not words:
        return command
    text = " ".join(words)
    name = next((word for word in words if word in _RUNS), "")
    if name:
        text = _without_page(command)
        words = _words(text) or words
    kept: list[str] = []
    verb, begins = "", True
    for word in words:
        if set(word) <= set("&|;"):
            begins = True
        elif begins:
            verb, begins = word, False
        elif word in _SHOWN.get(verb, ()):
            continue
        elif verb == "grep" and re.fullmatch(r"-[a-zA-Z]{2,8}", word):
            word = "-" + word[1:].replace("n", "").replace("H", "")  # noqa: PLW2901
            if word == "-":
                continue
        kept.append(word)
    return " ".join(kept)


def _without_page(command: str) -> str:
    text = command.strip()
    for _ in range(4):
        before, bar, page = text.rpartition("|")
        if bar and not before.endswith("|") and _PAGE.fullmatch(page):
            text = before.rstrip()
        elif text.endswith(" 2>&1"):
            text = text.removesuffix(" 2>&1").rstrip()
        else:
            break
    return text


def _covers(actual: str, expected: str) -> bool:
    """Whether two `sed -n 40,80p file` show the same file, the first at least four fifths of the other's lines."""
    mine, theirs = (_SED.fullmatch(" ".join(text.split())) for text in (actual, expected))
    if mine is None or theirs is None or not same_end(components(mine[3]), components(theirs[3])):
        return False
    given, wanted = (Lines(int(found[1]), None if found[2] == "$" else int(found[2])) for found in (mine, theirs))
    return given.coverage(wanted) >= _COVERAGE
