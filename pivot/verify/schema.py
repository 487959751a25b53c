"""The little of JSON Schema that comparing arguments needs; never raises on untrusted tools."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pivot.trajectory.types import Tool

_MOST_BRANCHES = 32
_LONGEST_DESCRIPTION = 2_000
_NO_ORDER = re.compile(
    r"\b(?:order (?:does not|doesn't|is not|isn't) (?:matter|important|relevant|significant)"
    r"|order is (?:irrelevant|unimportant|insignificant)|(?:in|of) any order|regardless of order|unordered)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"'([^'\n]{1,60})'|\"([^\"\n]{1,60})\"|`([^`\n]{1,60})`")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema node with the root that its `$ref`s point into.

    `branches` are the alternatives (`anyOf`, `oneOf`, `allOf`, `$ref`) flattened, the node itself first.
    """

    branches: tuple[Mapping[str, Any], ...]
    root: Mapping[str, Any]

    def types(self) -> frozenset[str]:
        """JSON types that the schema names; empty when it names none."""
        names: set[str] = set()
        for branch in self.branches:
            named = branch.get("type")
            names.update(name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str))
        return frozenset(names)

    def is_numeric(self) -> bool:
        """Whether a number is allowed, so that 5 and 5.0 are one value (to JSON Schema 5.0 is an integer)."""
        return not self.types().isdisjoint(("number", "integer"))

    def child(self, key: str) -> "Schema":
        """Schema of an object's property."""
        found = self._first("properties", key)
        if found is None:
            found = next(
                (branch["additionalProperties"] for branch in self.branches if "additionalProperties" in branch), None
            )
        return _node(found, self.root)

    def items(self) -> "Schema":
        """Schema of an array's items."""
        found = next((branch["items"] for branch in self.branches if "items" in branch), None)
        return _node(found, self.root)

    def is_optional(self, key: str) -> bool:
        """Whether a property is declared and may be left out."""
        required = False
        for branch in self.branches:
            names = branch.get("required")
            required = required or (isinstance(names, list) and key in names)
        return not required and self._first("properties", key) is not None

    def default(self) -> Any:
        """The default value; None when there is none (absence and null are the same here)."""
        return next((branch["default"] for branch in self.branches if "default" in branch), None)

    def enum(self) -> tuple[str, ...]:
        """The only texts allowed, where the schema lists them; empty where any text is."""
        values: list[str] = []
        for branch in self.branches:
            listed = branch["enum"] if "enum" in branch else [branch["const"]] if "const" in branch else None
            if isinstance(listed, list):
                values += [value for value in listed if isinstance(value, str)]
            elif branch.get("type") == "string":
                return ()
        return tuple(values)

    def formats(self) -> frozenset[str]:
        """What `format` says, and `pattern` where one is given."""
        named = {branch["format"] for branch in self.branches if isinstance(branch.get("format"), str)}
        return frozenset(named | ({"pattern"} if any("pattern" in branch for branch in self.branches) else set()))

    def is_set(self) -> bool:
        """Whether an array is declared to be a set: `uniqueItems`, or a description that gives its order away."""
        return any(branch.get("uniqueItems") is True for branch in self.branches) or (
            _NO_ORDER.search(self.description()) is not None
        )

    def description(self) -> str:
        """What the schema says in words; cut where it is endless."""
        found = next((branch["description"] for branch in self.branches if "description" in branch), "")
        return found[:_LONGEST_DESCRIPTION] if isinstance(found, str) else ""

    def quoted(self) -> frozenset[str]:
        """Texts that the description quotes, as in "either 'pending' or 'shipped'"."""
        return frozenset(next(filter(None, match.groups())) for match in _QUOTED.finditer(self.description()))

    def _first(self, keyword: str, key: str) -> Any:
        for branch in self.branches:
            table = branch.get(keyword)
            if isinstance(table, dict) and key in table:
                return table[key]
        return None


NO_SCHEMA = Schema((), {})


def _resolve(reference: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    node: Any = root
    for part in reference[2:].split("/"):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _alternatives(branch: Mapping[str, Any], root: Mapping[str, Any]) -> Iterable[Any]:
    yield _resolve(branch.get("$ref"), root)
    for keyword in ("anyOf", "oneOf", "allOf"):
        options = branch.get(keyword)
        if isinstance(options, list):
            yield from options


def _node(raw: Any, root: Mapping[str, Any]) -> Schema:
    branches: list[Mapping[str, Any]] = []
    waiting = [raw]
    # Bounded, for references may go round in circles.
    while waiting and len(branches) < _MOST_BRANCHES:
        branch = waiting.pop(0)
        if isinstance(branch, Mapping):
            branches.append(branch)
            waiting.extend(_alternatives(branch, root))
    return Schema(tuple(branches), root)


def arguments_schema(tools: Sequence[Tool], name: str) -> Schema:
    """Schema of a tool's arguments; of an unknown tool the empty schema, under which nothing is relaxed."""
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, dict) and function.get("name") == name:
            parameters = function.get("parameters")
            return _node(parameters, parameters if isinstance(parameters, dict) else {})
    return NO_SCHEMA
