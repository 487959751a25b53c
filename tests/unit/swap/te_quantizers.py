"""Reads from the sources of Transformer Engine, without importing them, what ``pivot/swap/te.py`` calls of it.

    python tests/unit/swap/te_quantizers.py 2.11=SOURCES … > tests/unit/swap/te_quantizers.json

SOURCES holds ``transformer_engine/`` of that version: a clone, or the site-packages where it is installed.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = "transformer_engine/pytorch"
FILES = {
    "Float8BlockQuantizer": ("float8_blockwise_tensor", "Float8BlockwiseQTensorStorage"),
    "MXFP8Quantizer": ("mxfp8_tensor", "MXFP8TensorStorage"),
    "Float8CurrentScalingQuantizer": ("float8_tensor", "Float8TensorStorage"),
}


def extract(root: Path) -> dict[str, Any]:
    """The entry of one version. By quantizer: ``arguments`` (by position) and ``keywords`` of its constructor,
    ``metadata`` (keys of what its tensors tell of themselves). ``exported``: quantizers that the package itself has.
    ``call``: arguments of a quantizer that is called. ``e4m3``: the names of the dtype."""
    exported = ast.parse((root / PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    return {
        "quantizers": {name: _quantizer(root, name) for name in FILES},
        "exported": sorted({alias.name for node in _of(exported, ast.ImportFrom) for alias in node.names} & {*FILES}),
        "call": _call(root),
        "e4m3": sorted(
            {
                ast.unparse(node)
                for node in _of(ast.parse((root / PACKAGE / "constants.py").read_text(encoding="utf-8")), ast.Attribute)
                if node.attr == "kFloat8E4M3"
            }
        ),
    }


def _quantizer(root: Path, name: str) -> dict[str, Any]:
    file, storage = FILES[name]
    methods = _methods(root / PACKAGE / "tensor" / f"{file}.py", name)
    constructor = methods["__init__"].args
    described = _methods(root / PACKAGE / "tensor" / "storage" / f"{file}_storage.py", storage)["get_metadata"]
    (keys,) = _of(described, ast.Dict)
    return {
        "arguments": [argument.arg for argument in constructor.args[1:]],
        "keywords": [argument.arg for argument in constructor.kwonlyargs],
        "metadata": [key.value for key in keys.keys if isinstance(key, ast.Constant)],
    }


def _call(root: Path) -> list[str]:
    for file in ("quantized_tensor.py", "tensor/quantized_tensor.py"):
        if (root / PACKAGE / file).is_file():
            return [argument.arg for argument in _methods(root / PACKAGE / file, "Quantizer")["__call__"].args.args[1:]]
    raise FileNotFoundError(f"{root}: no quantized_tensor.py")


def _methods(path: Path, owner: str) -> dict[str, ast.FunctionDef]:
    (found,) = (node for node in ast.parse(path.read_text(encoding="utf-8")).body if _named(node, owner))
    return {node.name: node for node in found.body if isinstance(node, ast.FunctionDef)}  # type: ignore[attr-defined]


def _named(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


def _of(tree: ast.AST, kind: type) -> Iterator[Any]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


if __name__ == "__main__":
    sources = dict(argument.split("=", 1) for argument in sys.argv[1:])
    print(json.dumps({version: extract(Path(root)) for version, root in sources.items()}, indent=1))
