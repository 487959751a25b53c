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
_NO_ORDER_ROLE = re.compile(r"\border (?:has|plays) no (?:role|part|meaning|effect|importance)\b", re.IGNORECASE)
# A list in which a thing may stand twice counts things; its order says nothing unless another list goes with it.
_BAG = re.compile(
    r"\b(?:could|may|might|can) be duplicates?\b|\brepeat (?:an?|the) (?:id|item)\b|\bduplicates? (?:is|are) allowed\b",
    re.IGNORECASE,
)
_POSITION = re.compile(
    r"\bn-?th\b|\bsame (?:position|index|indices|order|length)\b|\bcorrespond|\brespective|\bone[- ]to[- ]one\b",
    re.IGNORECASE,
)
_ANY_CASE = re.compile(
    r"\bcase (?:does not|doesn't) matter\b|\bcase is (?:ignored|irrelevant)\b|(?<!not )\bcase[- ]insensitive"
    r"|\b(?:regardless|irrespective) of case\b|\bwithout regard to case\b|\bignor(?:es|ing) case\b",
    re.IGNORECASE,
)
_EXACT = re.compile(r"\b(?:exact|exactly|verbatim|literally|case[- ]sensitive)\b", re.IGNORECASE)
_SPEAKS_OF_EMPTY = re.compile(r"\b(?:empty|blank|only)\b", re.IGNORECASE)
# Tools that write over what is there: an empty value may clear it.
_OVERWRITES = re.compile(
    r"\b(?:updat|edit|chang|modif|replac|patch|clear|reset|overwrit|renam|configur)\w*|\bsets?\b", re.IGNORECASE
)
_FOLDER = re.compile(r"\b(?:folder|directory)\b", re.IGNORECASE)
_NO_CASE_FORMATS = frozenset(("uuid", "hostname"))
_QUOTED = re.compile(r"'([^'\n]{1,60})'|\"([^\"\n]{1,60})\"|`([^`\n]{1,60})`")


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema node with the root that its `$ref`s point into.

    `branches` are the alternatives (`anyOf`, `oneOf`, `allOf`, `$ref`) flattened, the node itself first; `tool` is
    what the tool's name and description say.
    """

    branches: tuple[Mapping[str, Any], ...]
    root: Mapping[str, Any]
    tool: str = ""

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
        return _node(found, self.root, self.tool)

    def items(self) -> "Schema":
        """Schema of an array's items."""
        found = next((branch["items"] for branch in self.branches if "items" in branch), None)
        return _node(found, self.root, self.tool)

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
        """Whether an array's order is given away: `uniqueItems`, or a description that says so.

        Not where entries of two lists go together by their position.
        """
        said = self.description()
        free = any(branch.get("uniqueItems") is True for branch in self.branches) or any(
            pattern.search(said) for pattern in (_NO_ORDER, _NO_ORDER_ROLE, _BAG)
        )
        return free and not self.pairs_lists()

    def pairs_lists(self) -> bool:
        """Whether the tool says that entries of its lists go together by their position."""
        table = self.root.get("properties")
        nodes = [_node(raw, self.root) for raw in table.values()] if isinstance(table, dict) else []
        lists = [node for node in nodes if "array" in node.types()]
        said = [self.tool, *(node.description() for node in lists)]
        return len(lists) > 1 and any(_POSITION.search(text) for text in said)

    def any_case(self) -> bool:
        """Whether the schema says that case does not matter."""
        return _ANY_CASE.search(self.description()) is not None or not self.formats().isdisjoint(_NO_CASE_FORMATS)

    def is_exact(self) -> bool:
        """Whether the description asks for the exact text."""
        return _EXACT.search(self.description()) is not None and not self.any_case()

    def is_folder(self) -> bool:
        """Whether the description speaks of a folder."""
        return _FOLDER.search(self.description()) is not None

    def empty_is_nothing(self, kind: str) -> bool:
        """Whether an empty value says no more than none: no default, no word on empty ones, nothing overwritten.

        Args:
            kind: The empty value's JSON type.
        """
        said = self.description()
        return (
            kind in self.types()
            and self.default() is None
            and "" not in self.enum()
            and not _SPEAKS_OF_EMPTY.search(said)
            and not _OVERWRITES.search(self.tool)
        )

    def takes_numbers_in_texts(self) -> bool:
        """Whether texts and numbers are allowed; with booleans beside them a value's type is a part of it."""
        types = self.types()
        return "string" in types and not types.isdisjoint(("number", "integer")) and "boolean" not in types

    def null_is_a_value(self) -> bool:
        """Whether null is declared beside another default: `null returns all`."""
        return "null" in self.types() and self.default() is not None

    def declares_properties(self) -> bool:
        """Whether an object's properties are listed."""
        return any(isinstance(branch.get("properties"), dict) for branch in self.branches)

    def says(self) -> str:
        """What the tool and the schema say in words."""
        return f"{self.tool} {self.description()}"

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


def _node(raw: Any, root: Mapping[str, Any], tool: str = "") -> Schema:
    branches: list[Mapping[str, Any]] = []
    waiting = [raw]
    # Bounded, for references may go round in circles.
    while waiting and len(branches) < _MOST_BRANCHES:
        branch = waiting.pop(0)
        if isinstance(branch, Mapping):
            branches.append(branch)
            waiting.extend(_alternatives(branch, root))
    return Schema(tuple(branches), root, tool)


def _about(name: str, function: Mapping[str, Any]) -> str:
    said = function.get("description")
    words = f"{name} {said if isinstance(said, str) else ''}"
    return words.replace("_", " ").replace("-", " ")[:_LONGEST_DESCRIPTION]


def arguments_schema(tools: Sequence[Tool], name: str) -> Schema:
    """Schema of a tool's arguments; of an unknown tool the empty schema, under which nothing is relaxed."""
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, dict) and function.get("name") == name:
            parameters = function.get("parameters")
            return _node(parameters, parameters if isinstance(parameters, dict) else {}, _about(name, function))
    return NO_SCHEMA
