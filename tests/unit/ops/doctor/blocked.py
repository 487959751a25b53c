"""Python without some libraries: a `sitecustomize` that refuses to import them, for every process below."""

import os
from pathlib import Path

SOURCE = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None

sys.meta_path.insert(0, Blocked())
"""


def python_path_without(directory: Path, *names: str) -> str:
    """PYTHONPATH with a directory that blocks `names`, before what it holds now."""
    (directory / "sitecustomize.py").write_text(SOURCE.format(names=names))
    return os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])
