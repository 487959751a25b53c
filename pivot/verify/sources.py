"""Which source files decide a verifier's verdicts: a profile is stale when one of them has changed."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = __name__.split(".", 1)[0]
_ROOT = Path(__file__).resolve().parent.parent.parent


def sources(module: str) -> list[Path]:
    """The files of a module and of all of this project's modules that it imports, directly or not, by name.

    Read from the text, not from a list that somebody has to keep nor from what happens to be loaded: imports inside
    functions count too.
    """
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = source(name)
        if path is not None and name not in found:
            found[name] = path
            waiting += imported(path)
    return [found[name] for name in sorted(found)]


@cache
def digest(module: str) -> bytes:
    """SHA-256 of `sources`; read once a process, which runs what it has read."""
    whole = hashlib.sha256()
    for path in sources(module):
        whole.update(path.read_bytes())
    return whole.digest()


def source(module: str) -> Path | None:
    """The file of one of this project's modules; None for another name, such as a function's."""
    path = _ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported(path: Path) -> Iterator[str]:
    """The project's modules that the imports of a file name."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == PACKAGE:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in names if source(name) is not None]
            yield from modules or [node.module]
