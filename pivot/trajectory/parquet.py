"""Rows of a Parquet file, a row group at a time."""

import math
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.trajectory.inputs import display_name

_BATCH = 32


class _NotJson(ValueError):
    pass


def _plain(value: Any) -> Any:
    """A JSON value. Null fields of structs are left out: a struct column gives every row the fields of all."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):  # an entry of a map column
        return [_plain(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _NotJson("not_finite")
        return value
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime | date | time | timedelta | Decimal):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise _NotJson("not_utf8") from None
    raise _NotJson("unsupported_value")


def read_rows(path: Path) -> Iterator[tuple[dict[str, Any] | str, int]]:
    """Each row as a JSON object, or the reason why it is none, with the stored bytes read so far (about).

    Raises:
        UserError: The file cannot be opened.
    """
    import pyarrow
    import pyarrow.parquet

    name = display_name(path)
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except FileNotFoundError:
        raise UserError(f"{name}: no such file; check the path") from None
    except OSError as error:  # ArrowInvalid is none of these, ArrowIOError is
        raise UserError(f"{name}: cannot be read ({error}); check the path and its permissions") from None
    except pyarrow.ArrowException:
        yield "damaged_parquet", 0
        return
    with file:
        size, rows = path.stat().st_size, max(file.metadata.num_rows, 1)
        done = 0
        try:
            for batch in file.iter_batches(batch_size=_BATCH):
                for number in range(batch.num_rows):
                    done += 1
                    yield _row(batch, number), size * done // rows
        except (pyarrow.ArrowException, OSError):
            yield "damaged_parquet", size


def _row(batch: Any, number: int) -> dict[str, Any] | str:
    """One row by itself, so that a value which Python cannot hold (the year 10,000, bytes as text) costs that one."""
    import pyarrow

    try:
        (row,) = batch.slice(number, 1).to_pylist()
        return {key: _plain(value) for key, value in row.items() if value is not None}
    except _NotJson as error:
        return str(error)
    except UnicodeDecodeError:
        return "not_utf8"
    except (pyarrow.ArrowException, OverflowError, ValueError):
        return "unsupported_value"
