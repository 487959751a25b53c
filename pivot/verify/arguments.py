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
from pivot.verify.shell import ShellRelaxations, equivalent
from pivot.verify.texts import SHELL, names_a_file, normal_text, role

_ROUNDING = 1e-9
_CUT = 120
_SHELL = ShellRelaxations()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxations:
    """What may differ between equal arguments. Every switch is symmetric.

    Attributes:
        null_is_absence: Null in an optional argument says the same as leaving it out.
        default_is_absence: So does the schema's default, and an object that holds nothing but defaults.
        empty_is_absence: An empty text or list in an optional argument without a default says the same as leaving it
            out, unless the description speaks of empty values or the tool writes over what is there.
        numeric_type: 5 is 5.0 where the schema says number or integer.
        number_in_text: "5" is 5 where the schema takes texts and numbers, and no booleans.
        number_rounding: Numbers that differ by less than a billionth of the larger are one.
        enum_case: A value of an enum in another case, where the enum's values differ in more than case.
        text_case: Case of phrases and words, and where the schema says that it does not matter; never of other ids,
            codes, paths, addresses or code.
        whitespace: Runs of whitespace, and whitespace at the ends; never in code.
        unicode_form: Composed letters; typographic quotes, dashes and spaces and full-width forms, not in ids; never
            in code.
        date_form: Other unambiguous forms of the same date.
        set_order: Order in arrays with `uniqueItems`, or whose description gives the order away; the common order of
            two lists whose entries go together.
        phone_form: Brackets, dashes and blanks of a phone number; 00 for +.
        decimal_form: Separators of thousands and final zeros of an amount that is a text.
        colour_form: Case of a hex colour; #fa0 for #ffaa00.
        duration_form: PT60M for PT1H, P1D for PT24H.
        path_form: `./`, `..`, `//` in paths; a final slash where the argument is a folder.
        url_form: Case of scheme and host, the default port, dot segments, an empty path.
        email_form: Case of the domain.
        address_form: St. for Street behind a number and a name.
        sql_form: Case of words, comments, line breaks and the final semicolon of SQL.
        python_form: Comments, blank lines, blanks and the width of indentation of Python.
        shell_form: What `terminal:shell` lets differ between two commands.
        term_order: Order of terms and factors of an arithmetic expression, and brackets that say nothing.
        prose_similarity: Least similarity of two long texts that people read (reasons, summaries, messages), above
            0; short ones need up to 0.8; 1 asks for the same words.
        query_similarity: Least similarity of two queries or questions, above 0; their words may have another order.
    """

    null_is_absence: bool = True
    default_is_absence: bool = True
    empty_is_absence: bool = True
    numeric_type: bool = True
    number_in_text: bool = True
    number_rounding: bool = True
    enum_case: bool = True
    text_case: bool = True
    whitespace: bool = True
    unicode_form: bool = True
    date_form: bool = True
    set_order: bool = True
    phone_form: bool = True
    decimal_form: bool = True
    colour_form: bool = True
    duration_form: bool = True
    path_form: bool = True
    url_form: bool = True
    email_form: bool = True
    address_form: bool = True
    sql_form: bool = True
    python_form: bool = True
    shell_form: bool = True
    term_order: bool = True
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
    together = _paired_lists(given, wanted, schema)
    for key in sorted((given.keys() | wanted.keys()) - set(together[1:])):
        keys = together if key in together else (key,)
        pair = Pair(_only(given, keys), _only(wanted, keys), schema, least, given.keys() | wanted.keys())
        if pair.identical():
            continue
        if pair.equal(on):
            used |= pair.needed(on)
        else:
            differences.append(pair.difference(key, on))
    return min(differences, key=_severity) if differences else used


def _severity(difference: Difference) -> tuple[int, str]:
    return ("missing_argument", "extra_argument", "argument_mismatch").index(difference.reason), difference.key or ""


def _only(arguments: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: arguments[key] for key in keys if key in arguments}


def _paired_lists(given: dict[str, Any], wanted: dict[str, Any], schema: Schema) -> tuple[str, ...]:
    """The two lists whose entries go together by position, in both calls equally long; nothing where there are none."""
    keys = tuple(sorted(key for key in given.keys() & wanted.keys() if "array" in schema.child(key).types()))
    if len(keys) != 2 or not schema.pairs_lists():
        return ()
    lists = [[side[key] for key in keys] for side in (given, wanted)]
    even = all(isinstance(one, list) and isinstance(two, list) and len(one) == len(two) for one, two in lists)
    return keys if even else ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One argument of both calls, or two lists that go together, as objects; `keys` are all those of the two calls."""

    given: dict[str, Any]
    wanted: dict[str, Any]
    schema: Schema
    least: Least
    keys: Set[str]

    def identical(self) -> bool:
        return _dump(self.given) == _dump(self.wanted)

    def equal(self, on: Set[str]) -> bool:
        forms = (normal_object(side, self.schema, on, self.keys) for side in (self.given, self.wanted))
        given, wanted = (_aligned(form) if "set_order" in on else form for form in forms)
        return _same(given, wanted, on, self.least)

    def needed(self, on: Set[str]) -> set[str]:
        """A smallest set of switches under which both are equal."""
        kept = set(on)
        for switch in sorted(on):
            if self.equal(kept - {switch}):
                kept.remove(switch)
        return kept

    def difference(self, key: str, on: Set[str]) -> Difference:
        key = next((name for name in sorted(self.given) if self.given[name] != self.wanted.get(name)), key)
        given = normal_object(self.given, self.schema, on, self.keys)
        wanted = normal_object(self.wanted, self.schema, on, self.keys)
        if not given:
            return Difference("missing_argument", key)
        if not wanted:
            return Difference("extra_argument", key)
        shown = [_dump(side[key])[:_CUT] for side in (self.given, self.wanted) if key in side]
        return Difference("argument_mismatch", key, " instead of ".join(shown))


def _aligned(form: dict[str, Any]) -> dict[str, Any]:
    """Two lists that go together in one order of their pairs; any other form as it is."""
    if len(form) < 2:
        return form
    rows = sorted(zip(*form.values(), strict=True), key=_dump)
    return dict(zip(form, ([row[at] for row in rows] for at in range(len(form))), strict=True))


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
        return prose.same_query(left[1], right[1], least.query)
    if left[0] == right[0] == SHELL:
        return equivalent(left[1], right[1], _SHELL) is not None
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
    if not schema.takes_numbers_in_texts() or len(text) > 32:
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
        return ("n" if "number_in_text" in on and schema.takes_numbers_in_texts() else type(value).__name__), value
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
        optional = schema.is_optional(key)
        if _is_absent(item, child, on, optional=optional):
            continue
        normal = normal_form(item, child, on, key, beside_path=beside_path)
        if not (optional and normal == {} and "default_is_absence" in on and _holds_only_defaults(child)):
            form[key] = normal
    return form


def _is_absent(value: Any, schema: Schema, on: Set[str], *, optional: bool) -> bool:
    """Whether a value says what leaving it out says."""
    if not optional:
        return False
    if value is None:
        # Null may be the default's way of being left out, and needs no more than one of the two.
        return "null_is_absence" in on and not schema.null_is_a_value()
    if value in ("", []) and "empty_is_absence" in on and schema.empty_is_nothing("array" if value == [] else "string"):
        return True
    return "default_is_absence" in on and _is_default(value, schema, on)


def _holds_only_defaults(schema: Schema) -> bool:
    """Whether an object of which nothing is left beside defaults says nothing."""
    return schema.declares_properties() and schema.default() is None


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
