"""Reads from the sources of Megatron-Bridge, without importing them, what ``pivot/policy/bridge.py`` uses of it.

    python tests/unit/policy/bridge_signatures.py 0.3.1=SOURCES … > tests/unit/policy/bridge_signatures.json

SOURCES holds ``megatron/bridge/`` of that version: the unpacked wheel, or the site-packages where it is installed.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

AUTO = "megatron/bridge/models/conversion/auto_bridge.py"
PROVIDER = "megatron/bridge/models/model_provider.py"
CONFIG = "megatron/bridge/models/transformer_config.py"
METHODS = {
    AUTO: ("AutoBridge", ("from_hf_pretrained", "to_megatron_provider", "load_hf_weights", "export_hf_weights")),
    PROVIDER: ("ModelProviderMixin", ("provide_distributed_model",)),
    CONFIG: ("TransformerConfig", ("__post_init__", "finalize")),
}


def extract(root: Path) -> dict[str, Any]:
    """The entry of one version: ``methods`` (class.method -> arguments), ``families`` (model_type that has a bridge),
    ``deferred`` (whether a provider's fields may be set before ``finalize``)."""
    methods = {}
    deferred = False
    for file, (owner, wanted) in METHODS.items():
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
        for node in found.body:
            if isinstance(node, ast.FunctionDef) and node.name in wanted:
                arguments = [*node.args.args, *node.args.kwonlyargs]
                methods[f"{owner}.{node.name}"] = [
                    argument.arg for argument in arguments if argument.arg not in ("self", "cls")
                ]
                deferred |= node.name == "__post_init__" and isinstance(node.body[-1], ast.Pass)
    return {"methods": methods, "families": sorted(_families(root)), "deferred": deferred}


def _families(root: Path) -> set[str]:
    """The ``model_type`` of every registered bridge that names one."""
    found = set()
    for file in sorted((root / "megatron/bridge/models").glob("*/*_bridge.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_bridge"):
                found |= {
                    str(keyword.value.value)
                    for keyword in node.keywords
                    if keyword.arg == "model_type" and isinstance(keyword.value, ast.Constant)
                }
    return found


if __name__ == "__main__":
    sources = dict(argument.split("=", 1) for argument in sys.argv[1:])
    print(json.dumps({version: extract(Path(root)) for version, root in sources.items()}, indent=1))
