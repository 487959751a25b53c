"""Arguments to a normal form, by the tool's own schema: equal forms mean the same call.

Comparing forms instead of values makes equality symmetric and transitive, so parallel calls match as
multisets in linear time.
"""

import json
from typing import Any

from pivot.trajectory.strict_json import decode_object
from pivot.verify.schema import NO_SCHEMA, Schema


def normal_text(text: str) -> str:
    """Case folded, runs of whitespace to one space, none at the ends."""
    return " ".join(text.split()).casefold()


def _normal_number(value: int | float) -> int | float:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _number_in_text(text: str, schema: Schema) -> int | float | None:
    """The number a text stands for, only where the schema takes both texts and numbers."""
    types = schema.types()
    if "string" not in types or types.isdisjoint(("number", "integer")) or len(text) > 32:
        return None
    sign_free = text.strip().removeprefix("-")
    whole, dot, part = sign_free.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (part.isascii() and part.isdigit())):
        return None
    return _normal_number(float(text) if dot else int(text))


def _is_default(value: Any, schema: Schema) -> bool:
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
    return _dump(normal_form(value, relaxed)) == _dump(normal_form(default, relaxed))


def normal_form(value: Any, schema: Schema) -> Any:
    """The normal form of a JSON value (nested at most as deep as `strict_json` lets through)."""
    if isinstance(value, str):
        number = _number_in_text(value, schema)
        return ["s", normal_text(value)] if number is None else ["n", number]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        # Without a schema 5 and 5.0 stay apart: their own JSON types are all that is known.
        return ["n", _normal_number(value)] if schema.is_numeric() else [type(value).__name__, value]
    if isinstance(value, list):
        items = schema.items()
        return ["a", [normal_form(item, items) for item in value]]
    return _normal_object(value, schema)


def _normal_object(value: dict[str, Any], schema: Schema) -> dict[str, Any]:
    form = {}
    for key, item in value.items():
        child = schema.child(key)
        # Null and the default say the same as leaving an optional argument out.
        if not (schema.is_optional(key) and (item is None or _is_default(item, child))):
            form[key] = normal_form(item, child)
    return form


def _dump(form: Any) -> str:
    return json.dumps(form, sort_keys=True, ensure_ascii=True)


def normal_arguments(arguments: str, schema: Schema) -> dict[str, str]:
    """Normal form of each argument that counts, as text.

    Args:
        arguments: JSON text of an object.
        schema: The tool's argument schema.

    Raises:
        BadJson: The text is no JSON object, or one that is too deep.
    """
    form = _normal_object(decode_object(arguments), schema)
    return {key: _dump(item) for key, item in form.items()}
