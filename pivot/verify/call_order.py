"""Parallel calls whose order counts: those of different tools on one file, or on a folder and what is in it."""

from collections.abc import Iterable, Iterator
from typing import Any

from pivot.verify.forms import folder_path
from pivot.verify.texts import names_a_file
from pivot.verify.words import word_set

# A call that only reads takes nothing from another one that does.
_READS = word_set("read get list view show find search cat ls stat open fetch check describe count")
_MOST_EVENTS = 128

Event = tuple[str, str]


def same_order(actual: Iterable[tuple[str, Any]], expected: Iterable[tuple[str, Any]]) -> bool:
    """Whether calls that depend on each other stand in one order in both actions.

    Args:
        actual: Name and decoded arguments of every call.
        expected: Those of the expert.
    """
    mine, theirs = list(_events(actual))[:_MOST_EVENTS], list(_events(expected))[:_MOST_EVENTS]
    kinds = sorted(set(mine))
    return all(
        [event for event in mine if event in (one, two)] == [event for event in theirs if event in (one, two)]
        for at, one in enumerate(kinds)
        for two in kinds[at + 1 :]
        if _depend(one, two)
    )


def _events(calls: Iterable[tuple[str, Any]]) -> Iterator[Event]:
    """The paths that calls name, in order, each with the tool."""
    for name, arguments in calls:
        if isinstance(arguments, dict):
            for key in sorted(arguments):
                if isinstance(arguments[key], str) and names_a_file({key}):
                    yield name, folder_path(arguments[key].strip())


def _depend(one: Event, two: Event) -> bool:
    if one[0] == two[0] or all(_reads(name) for name in (one[0], two[0])):
        return False
    short, long = sorted((one[1], two[1]), key=len)
    return long == short or long.startswith(short.rstrip("/") + "/")


def _reads(name: str) -> bool:
    return name.replace("-", "_").split("_")[0].lower() in _READS
