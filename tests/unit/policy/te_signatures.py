"""Reads from the sources of Transformer Engine, without importing them, what Megatron calls of it.

    python tests/unit/policy/te_signatures.py 2.11=SOURCES … > tests/unit/policy/te_signatures.json

SOURCES holds ``transformer_engine/`` of that version: a clone, or the site-packages where it is installed.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

RECIPES = "transformer_engine/common/recipe/__init__.py"
QUANTIZATION = "transformer_engine/pytorch/quantization.py"
USED = ("DelayedScaling", "Float8CurrentScaling", "MXFP8BlockScaling", "Float8BlockScaling")


def extract(root: Path) -> dict[str, Any]:
    """The entry of one version: ``recipes`` (class -> fields), ``formats``, ``environment`` (variables that recipes
    read), ``pydantic`` (whether recipes ignore arguments they do not know), ``autocast`` (arguments of
    ``fp8_autocast``), ``support`` (comparisons with device and CUDA versions, by function)."""
    recipes = ast.parse((root / RECIPES).read_text(encoding="utf-8"))
    quantization = ast.parse((root / QUANTIZATION).read_text(encoding="utf-8"))
    classes = {node.name: node for node in recipes.body if isinstance(node, ast.ClassDef)}
    functions = {node.name: node for node in quantization.body if isinstance(node, ast.FunctionDef)}
    return {
        "recipes": {
            name: [item.target.id for item in node.body if _is_field(item)]  # type: ignore[attr-defined]
            for name, node in classes.items()
            if name in USED
        },
        "formats": [
            target.id
            for item in classes["Format"].body
            if isinstance(item, ast.Assign)
            for target in item.targets
            if isinstance(target, ast.Name)
        ],
        "environment": sorted(
            {
                str(node.args[0].value)
                for node in ast.walk(recipes)
                if isinstance(node, ast.Call)
                and ast.unparse(node.func) == "os.getenv"
                and isinstance(node.args[0], ast.Constant)
            }
        ),
        "pydantic": any(
            isinstance(node, ast.ImportFrom) and node.module == "pydantic.dataclasses" for node in recipes.body
        ),
        "autocast": [argument.arg for argument in functions["fp8_autocast"].args.args],
        "support": {
            name.strip("_").removeprefix("compute_").removeprefix("check_").removesuffix("_support"): comparisons
            for name, node in functions.items()
            if name.endswith("_support") and (comparisons := _comparisons(node))
        },
    }


def _is_field(item: ast.stmt) -> bool:
    return isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)


def _comparisons(function: ast.FunctionDef) -> list[str]:
    """Comparisons with a number or a tuple, as text."""
    return [
        ast.unparse(node)
        for node in ast.walk(function)
        if isinstance(node, ast.Compare) and ("capability" in ast.unparse(node) or "cuda" in ast.unparse(node))
    ]


if __name__ == "__main__":
    sources = dict(argument.split("=", 1) for argument in sys.argv[1:])
    print(json.dumps({version: extract(Path(root)) for version, root in sources.items()}, indent=1))
