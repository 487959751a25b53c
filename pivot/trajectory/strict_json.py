"""JSON from untrusted sources: plain values or a short reason, never another exception.

`json.loads` alone accepts `NaN`, turns `1e400` into infinity, passes lone surrogates that no tokenizer can
encode, and fails with `RecursionError` at a depth that depends on the caller's stack.
"""

import json
import math
from typing import Any

MAX_DEPTH = 64


class BadJson(ValueError):
    """Text that is no JSON which the project can use; `reason` is machine-readable."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _reject_constant(text: str) -> Any:
    raise BadJson("not_finite")


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise BadJson("not_finite")
    return value


_DECODER = json.JSONDecoder(parse_constant=_reject_constant, parse_float=_finite_float)


def is_unicode(text: str) -> bool:
    """Whether `text` has no lone surrogate, so that it can be encoded."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def check(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Raise `BadJson` when `value` is nested deeper than `max_depth` or holds a lone surrogate.

    Iterative, so that hostile nesting costs no stack.
    """
    level = [value]
    depth = 0
    while level:
        deeper: list[Any] = []
        nested = False
        for item in level:
            if isinstance(item, str):
                if not is_unicode(item):
                    raise BadJson("lone_surrogate")
            elif isinstance(item, dict):
                nested = True
                deeper.extend(item.keys())
                deeper.extend(item.values())
            elif isinstance(item, list):
                nested = True
                deeper.extend(item)
        depth += nested
        if depth > max_depth:
            raise BadJson("too_deep")
        level = deeper


def decode_prefix(text: str, start: int = 0, max_depth: int | None = MAX_DEPTH) -> tuple[Any, int]:
    """Decode the JSON value that begins at `text[start]`.

    Args:
        text: Any text.
        start: Index of the value's first character (no leading whitespace).
        max_depth: Most levels of nesting; None leaves `check` to the caller.

    Returns:
        The value and the index just after it.

    Raises:
        BadJson: `not_json`, `too_deep`, `not_finite` or `lone_surrogate`.
    """
    try:
        value, end = _DECODER.raw_decode(text, start)
    except BadJson:
        raise
    except RecursionError:
        raise BadJson("too_deep") from None
    except ValueError:  # JSONDecodeError, and int() on thousands of digits
        raise BadJson("not_json") from None
    if max_depth is not None:
        check(value, max_depth)
    return value, end


def decode(text: str, max_depth: int | None = MAX_DEPTH) -> Any:
    """Decode a whole text as one JSON value; raises `BadJson` as `decode_prefix` does."""
    stripped = text.strip(" \t\r\n")
    value, end = decode_prefix(stripped, 0, max_depth)
    if end != len(stripped):
        raise BadJson("not_json")
    return value


def decode_object(text: str, max_depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Decode a whole text as one JSON object; additionally raises `BadJson("not_object")`."""
    value = decode(text, max_depth)
    if not isinstance(value, dict):
        raise BadJson("not_object")
    return value
