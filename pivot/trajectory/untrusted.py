"""Fields of untrusted JSON objects: the value when it has the type that is wanted, else nothing."""

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from pivot.trajectory.strict_json import decode


def as_dict(value: Any) -> dict[str, Any]:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """An array, or an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str | None:
    """A text that is not empty, or None."""
    return value if isinstance(value, str) and value else None


def as_name(value: Any) -> str | None:
    """A text or a whole number as text, or None."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return as_text(value)


def first_name(record: dict[str, Any], *keys: str) -> str | None:
    """The first of these fields that is a name."""
    return next((name for key in keys if (name := as_name(record.get(key))) is not None), None)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """The objects in an array."""
    return (item for item in as_list(value) if isinstance(item, dict))


def from_json_text(value: Any) -> Any:
    """What a text holds as JSON (tables have no columns of free form); any other value as it is.

    Raises:
        BadJson: The text is no JSON.
    """
    return decode(value) if isinstance(value, str) else value


def as_json(value: Any) -> str:
    """The JSON text of a value, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def is_one(reward: Any) -> bool | None:
    """Whether a reward is 1 within 1e-6; None when it is no number. By comparison: integers may be huge."""
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        return None
    return 1 - 1e-6 <= reward <= 1 + 1e-6


def success_of(record: dict[str, Any]) -> bool | None:
    """What a record says of its outcome: `success`, `resolved` or `target` (bool), else `reward` (1 or more)."""
    for key in ("success", "resolved", "target"):
        if isinstance(record.get(key), bool):
            return bool(record[key])
    reward = record.get("reward")
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        return None
    return reward >= 1


def file_of(source: str) -> PurePath:
    """The file that a `file:line` names."""
    return PurePath(source.rpartition(":")[0])


def stem_of(source: str) -> str:
    """Its name without suffixes."""
    name = file_of(source).name
    for suffix in (".gz", ".zst"):
        name = name.removesuffix(suffix)
    return PurePath(name).stem
