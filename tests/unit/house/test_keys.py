"""No dead keys: every key of the configuration is read by code that does something with it.

What only checks a value (`check` and `rules`), only documents it, or only plans with it does not count: a key that is
there for nothing else would do nothing in a run. `plan` itself is read by `pivot plan` alone.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pivot.config import Config, all_keys

ROOT = Path(__file__).resolve().parents[3]
CHECKS = ("check", "rules")
SECTIONS = {item.name: item.type for item in dataclasses.fields(Config)}
CLASSES = {kind.__name__: name for name, kind in SECTIONS.items()}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """What runs in a run, and `pivot plan`."""
    for folder in ("pivot", "recipes"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def reads(tree: ast.AST, known: dict[str, str]) -> Iterator[tuple[str, str]]:
    """(section, field) of every attribute that is read, in functions other than checks.

    Args:
        tree: to look through.
        known: names that stand for a section: parameters by their annotation, and variables that were given one.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not (node.name in CHECKS or node.name.endswith("_rules")):
                yield from reads(node, known | of_arguments(node) | of_assignments(node))
            continue
        if isinstance(node, ast.ClassDef) and node.name in CLASSES:  # properties of a section itself
            for method in (part for part in node.body if isinstance(part, ast.FunctionDef)):
                yield from reads(method, {"self": CLASSES[node.name]})
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and (section := of(node.value, known)):
            yield section, node.attr
        yield from reads(node, known)


def of(node: ast.expr, known: dict[str, str]) -> str | None:
    """The section that an expression stands for."""
    if isinstance(node, ast.Attribute) and node.attr in SECTIONS:
        return node.attr
    return known.get(node.id) if isinstance(node, ast.Name) else None


def of_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    named = ((argument.arg, ast.unparse(argument.annotation)) for argument in given if argument.annotation)
    return {name: CLASSES[kind] for name, kind in named if kind in CLASSES}


def of_assignments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target, value in pairs(node.targets[0], node.value):
                if isinstance(target, ast.Name) and isinstance(value, ast.Attribute) and value.attr in SECTIONS:
                    found[target.id] = value.attr
    return found


def pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def read_keys() -> set[str]:
    found = set()
    for path, tree in sources():
        planning = "pivot/ops/plan/" in str(path)
        found |= {f"{section}.{name}" for section, name in reads(tree, {}) if (section == "plan") or not planning}
    return found


def test_no_key_is_dead() -> None:
    assert sorted(set(all_keys()) - read_keys()) == []


def test_a_key_that_is_only_checked_or_planned_with_is_dead() -> None:
    code = """
def rules(section: TrainSection): return section.steps > 0
def check(config): return config.train.steps
def used(config, other: GrpoSection):
    a, b = config.train, config.run
    return a.group_size, b.seed, other.entropy, config.model.path
def unrelated(train): train.refill = 1; return self.thing.dir
"""
    found = set(reads(ast.parse(code), {}))
    assert found == {("train", "group_size"), ("run", "seed"), ("grpo", "entropy"), ("model", "path")}
