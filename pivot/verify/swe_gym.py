"""How NeMo-Gym's SWE environment compares two steps: category, then target, then the likeness of the arguments.

target      an editor's sub-command; the last two components of an edited path, the last three elsewhere; what is viewed
            covers enough of what the expert views; of commands the verb, paths in common, and a floor of likeness
likeness    of edits the lesser of old and new text, of commands, of queries, else of all arguments; of no more than
            the first 2,000 characters

The verb of `cd d && c` is that of `c`: it is what is done. Two paths overlap where all components that both have, up to
the last three, are equal. Views and reads are compared by their target alone.
"""

import math
import re
from dataclasses import dataclass

from pivot.verify.ratio import ratio
from pivot.verify.swe_tools import BASH, EDIT, READ, SEARCH, VIEW, Lines, Step

CAP = 2_000
_EDIT_COMPONENTS, _OTHER_COMPONENTS = 2, 3
_CHANGE_FOLDER = re.compile(r"\s*cd\s+[^\s;&|]+\s*(?:&&|;)\s*")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_EDGES = "\"'`()[]{}<>;,:|&="
_SUFFIX = re.compile(r"[^\s/*?]+\.[A-Za-z][A-Za-z0-9]{0,5}")
_MOST_TOKENS = 400


@dataclass(frozen=True, slots=True)
class Compared:
    """How two steps compare: the target's difference, or the likeness of what is left."""

    difference: str | None
    likeness: float = 0.0


def same_tool(actual: Step, expected: Step) -> bool:
    """The same category, or the same name where it is unknown."""
    if actual.category and expected.category:
        return actual.category == expected.category
    return actual.name == expected.name


def compare(actual: Step, expected: Step, floor: float, cover: float) -> Compared:
    """Target and likeness of two steps of one category.

    Args:
        actual: The policy's step.
        expected: The expert's.
        floor: Least likeness of commands that have the same target.
        cover: Share of the lines that the expert views which must be viewed.
    """
    if expected.category == BASH:
        return _compare_commands(actual.command, expected.command, floor)
    edits = expected.category == EDIT
    if edits and actual.kind != expected.kind:
        return Compared("sub_command")
    if not same_tail(actual.path, expected.path, _EDIT_COMPONENTS if edits else _OTHER_COMPONENTS):
        return Compared("path")
    if (expected.category == READ or expected.kind == VIEW) and not covers(actual.lines, expected.lines, cover):
        return Compared("lines")
    return Compared(None, _likeness(actual, expected))


def _likeness(actual: Step, expected: Step) -> float:
    if expected.category == EDIT and expected.kind != VIEW:
        return min(alike(actual.old, expected.old), alike(actual.new, expected.new))
    if expected.category == SEARCH and (actual.query or expected.query):
        return alike(actual.query, expected.query)
    if expected.kind == VIEW or (expected.category == READ and (expected.path or expected.lines)):
        return 1.0
    return alike(actual.arguments, expected.arguments)


def alike(actual: str, expected: str) -> float:
    """The ratio of two texts, both cut."""
    return ratio(expected[:CAP], actual[:CAP]).value


def components(path: str) -> list[str]:
    """The components of a path without those that say nothing."""
    return [part for part in path.strip().split("/") if part not in ("", ".")]


def same_tail(actual: str, expected: str, count: int) -> bool:
    """Whether the last components of two paths are equal, or there is no path to hold to."""
    return not expected or components(actual)[-count:] == components(expected)[-count:]


def covers(actual: Lines | None, expected: Lines | None, share: float) -> bool:
    """Whether the lines of `actual` hold that share of those of `expected`; None is the whole file."""
    mine, wanted = actual or (1.0, math.inf), expected or (1.0, math.inf)
    if math.isinf(wanted[1]):
        return math.isinf(mine[1]) and mine[0] <= wanted[0]
    size = wanted[1] - wanted[0] + 1
    return size <= 0 or min(mine[1], wanted[1]) - max(mine[0], wanted[0]) + 1 >= share * size


def _compare_commands(actual: str, expected: str, floor: float) -> Compared:
    if _verb(actual) != _verb(expected):
        return Compared("verb")
    wanted = _paths(_without_cd(expected)) or _paths(expected)
    given = _paths(_without_cd(actual)) or _paths(actual)
    if wanted and not any(_overlap(mine, path) for mine in given for path in wanted):
        return Compared("path")
    likeness = alike(actual, expected)
    return Compared("likeness" if likeness < floor else None, likeness)


def _without_cd(command: str) -> str:
    """A command without the changes of folder in front of it."""
    text = command[:CAP]
    for _ in range(4):
        if (found := _CHANGE_FOLDER.match(text)) is None or found.end() == len(text):
            break
        text = text[found.end() :]
    return text


def _verb(command: str) -> str:
    return next((word for word in _without_cd(command).split() if not _ASSIGNMENT.match(word)), "")


def _paths(command: str) -> list[list[str]]:
    """What looks like paths in a command, by their last components."""
    found = []
    for token in command[:CAP].split()[1:_MOST_TOKENS]:
        bare = token.strip(_EDGES)
        if not bare.startswith("-") and (("/" in bare and components(bare)) or _SUFFIX.fullmatch(bare)):
            found.append(components(bare)[-_OTHER_COMPONENTS:])
    return found


def _overlap(one: list[str], other: list[str]) -> bool:
    count = min(len(one), len(other))
    return one[-count:] == other[-count:]
