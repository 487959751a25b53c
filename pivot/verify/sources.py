"""Which source files decide a verifier's verdicts: a profile is stale when one of them has changed."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

PACKAGE = __name__.split(".", 1)[0]


def sources(module: ModuleType) -> list[ModuleType]:
    """A module and all of this project's modules that it imports, directly or not, by name.

    Read from the text, not from a list that somebody has to keep: imports inside functions count too.
    """
    found: dict[str, ModuleType] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current.__name__ not in found:
            found[current.__name__] = current
            waiting += imported(current)
    return [found[name] for name in sorted(found)]


def imported(module: ModuleType) -> Iterator[ModuleType]:
    """This project's modules that the text of a module names in imports, as far as they are loaded."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == PACKAGE:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [sys.modules[name] for name in names if name in sys.modules]
            yield from modules or [sys.modules[node.module]]
