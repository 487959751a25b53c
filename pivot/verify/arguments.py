"""Arguments of two calls compared under the tool's schema, and which relaxations the equality needed.

Each argument has a normal form under the switches that are on; equal forms mean the same call. Which switches
an equality needed is found by taking each away in turn: those that cannot be spared are named.
"""

import json
import math
from collections.abc import Set
from dataclasses import dataclass, fields
from typing import Any

from pivot.verify import prose
from pivot.verify.schema import NO_SCHEMA, Schema
from pivot.verify.texts import names_a_file, normal_text, role

_ROUNDING = 1e-9
_CUT = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxations:
    """What may differ between equal arguments. Every switch is symmetric.

    Attributes:
        null_is_absence: Null in an optional argument says the same as leaving it out.
        default_is_absence: So does the schema's default.
        numeric_type: 5 is 5.0 where the schema says number or integer.
        number_in_text: "5" is 5 where the schema takes texts and numbers.
        number_rounding: Numbers that differ by less than a billionth of the larger are one.
        enum_case: A value of an enum in another case, where the enum's values differ in more than case.
        text_case: Case of phrases and words; never of ids, codes, paths, addresses or code.
        whitespace: Runs of whitespace, and whitespace at the ends; never in code.
        unicode_form: Composed letters; typographic quotes, dashes and spaces; full-width forms; never in code.
        date_form: Other unambiguous forms of the same date.
        set_order: Order in arrays with `uniqueItems`, or whose description gives the order away.
        prose_similarity: Least similarity of two long texts that people read (reasons, summaries, messages), above
            0; short ones need up to 0.8; 1 asks for the same words.
        query_similarity: Least similarity of two queries or questions, above 0; their words may have another order.
    """

    null_is_absence: bool = True
    default_is_absence: bool = True
    numeric_type: bool = True
    number_in_text: bool = True
    number_rounding: bool = True
    enum_case: bool = True
    text_case: bool = True
    whitespace: bool = True
    unicode_form: bool = True
    date_form: bool = True
    set_order: bool = True
    prose_similarity: float = 0.4
    query_similarity: float = 0.9

    def __post_init__(self) -> None:
        for name in ("prose_similarity", "query_similarity"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1")

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(item.name for item in fields(Relaxations) if getattr(self, item.name) is not False)


@dataclass(frozen=True, slots=True)
class Least:
    """The thresholds of similarity."""

    prose: float
    query: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The first argument in which two calls differ.

    Attributes:
        reason: `missing_argument`, `extra_argument` or `argument_mismatch`.
        key: The argument; None where the comparison does not say.
        detail: Both values, cut.
    """

    reason: str
    key: str | None
    detail: str = ""


def compare(given: dict[str, Any], wanted: dict[str, Any], schema: Schema, relax: Relaxations) -> Difference | set[str]:
    """The switches that make two argument objects equal, or where they differ under all of them.

    Args:
        given: Decoded arguments of the policy, nested as deep as `strict_json` lets through.
        wanted: Those of the expert.
        schema: The tool's argument schema.
        relax: The switches.
    """
    on = relax.on()
    least = Least(relax.prose_similarity, relax.query_similarity)
    used: set[str] = set()
    differences: list[Difference] = []
    for key in sorted(given.keys() | wanted.keys()):
        pair = Pair(_only(given, key), _only(wanted, key), schema, least, given.keys() | wanted.keys())
        if pair.identical():
            continue
        if pair.equal(on):
            used |= pair.needed(on)
        else:
            differences.append(pair.difference(key, on))
    return min(differences, key=_severity) if differences else used


def _severity(difference: Difference) -> tuple[int, str]:
    return ("missing_argument", "extra_argument", "argument_mismatch").index(difference.reason), difference.key or ""


def _only(arguments: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: arguments[key]} if key in arguments else {}


@dataclass(frozen=True, slots=True)
class Pair:
    """One argument of both calls, as objects of at most one key; `keys` are all those of the two calls."""

    given: dict[str, Any]
    wanted: dict[str, Any]
    schema: Schema
    least: Least
    keys: Set[str]

    def identical(self) -> bool:
        return _dump(self.given) == _dump(self.wanted)

    def equal(self, on: Set[str]) -> bool:
        forms = (normal_object(side, self.schema, on, self.keys) for side in (self.given, self.wanted))
        return _same(next(forms), next(forms), on, self.least)

    def needed(self, on: Set[str]) -> set[str]:
        """A smallest set of switches under which both are equal."""
        kept = set(on)
        for switch in sorted(on):
            if self.equal(kept - {switch}):
                kept.remove(switch)
        return kept

    def difference(self, key: str, on: Set[str]) -> Difference:
        given = normal_object(self.given, self.schema, on, self.keys)
        wanted = normal_object(self.wanted, self.schema, on, self.keys)
        if not given:
            return Difference("missing_argument", key)
        if not wanted:
            return Difference("extra_argument", key)
        shown = [_dump(side[key])[:_CUT] for side in (self.given, self.wanted) if key in side]
        return Difference("argument_mismatch", key, " instead of ".join(shown))


def _same(left: Any, right: Any, on: Set[str], least: Least) -> bool:
    """Whether two normal forms mean the same."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key], on, least) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_same(one, two, on, least) for one, two in zip(left, right, strict=True))
    if not (isinstance(left, tuple) and isinstance(right, tuple)):
        return left is right  # null, true and false; or one is a scalar
    if left == right:
        return True
    if left[0] == right[0] == "p":
        return prose.same(left[1], right[1], least.prose)
    if left[0] == right[0] == "q":
        return prose.similarity(left[1], right[1]) >= least.query
    if "number_rounding" in on and left[0] == right[0] in ("n", "float"):
        return _near(left[1], right[1])
    return False


def _near(left: int | float, right: int | float) -> bool:
    try:
        return math.isclose(left, right, rel_tol=_ROUNDING) and not (isinstance(left, int) and isinstance(right, int))
    except OverflowError:  # an integer beyond every float
        return False


def _normal_number(value: int | float) -> int | float:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number_in_text(text: str, schema: Schema) -> int | float | None:
    """The number a text stands for, only where the schema takes both texts and numbers."""
    types = schema.types()
    if "string" not in types or types.isdisjoint(("number", "integer")) or len(text) > 32:
        return None
    whole, dot, part = text.strip().removeprefix("-").partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (part.isascii() and part.isdigit())):
        return None
    return _normal_number(float(text) if dot else int(text))


def normal_form(value: Any, schema: Schema, on: Set[str], key: str, *, beside_path: bool) -> Any:
    """The normal form of a JSON value: objects, lists, tagged scalars.

    Args:
        value: Nested at most as deep as `strict_json` lets through.
        schema: Its schema.
        on: Names of the switches that are on.
        key: The property that it is the value of; of a list's items the list's.
        beside_path: Whether a file is named beside it.
    """
    if isinstance(value, str):
        number = _number_in_text(value, schema) if "number_in_text" in on else None
        if number is not None:
            return "n", number
        return normal_text(value, role(key, schema, beside_path=beside_path), schema, on)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        if "numeric_type" in on and schema.is_numeric():
            return "n", _normal_number(value)
        # Without a schema 5 and 5.0 stay apart: their own JSON types are all that is known.
        return ("n" if "number_in_text" in on and "string" in schema.types() else type(value).__name__), value
    if isinstance(value, list):
        items = schema.items()
        forms = [normal_form(item, items, on, key, beside_path=beside_path) for item in value]
        return sorted(forms, key=_dump) if "set_order" in on and schema.is_set() else forms
    return normal_object(value, schema, on, value.keys())


def normal_object(value: dict[str, Any], schema: Schema, on: Set[str], keys: Set[str]) -> dict[str, Any]:
    """The normal forms of an object's properties that count; `keys` as in `Pair`."""
    form = {}
    beside_path = names_a_file(keys)
    for key, item in value.items():
        child = schema.child(key)
        if not _is_absent(item, child, on, optional=schema.is_optional(key)):
            form[key] = normal_form(item, child, on, key, beside_path=beside_path)
    return form


def _is_absent(value: Any, schema: Schema, on: Set[str], *, optional: bool) -> bool:
    """Whether a value says what leaving it out says."""
    if not optional:
        return False
    if value is None:
        # Null may be the default's way of being left out, and needs no more than one of the two.
        return "null_is_absence" in on
    return "default_is_absence" in on and _is_default(value, schema, on)


def _is_default(value: Any, schema: Schema, on: Set[str]) -> bool:
    """Whether a value is the schema's default.

    Containers are compared without their schema: a recursive schema's default may hold defaults without end.
    """
    default = schema.default()
    if default is None:
        return False
    relaxed = schema
    if isinstance(value, dict | list):
        if type(value) is not type(default) or len(value) != len(default):
            return False
        relaxed = NO_SCHEMA
    elif isinstance(default, dict | list):
        return False
    forms = [normal_form(side, relaxed, on, "", beside_path=False) for side in (value, default)]
    return bool(forms[0] == forms[1])


def _dump(form: Any) -> str:
    return json.dumps(form, sort_keys=True)
