"""Why a file could not be written, where torch does not say."""

import os
import tempfile
from pathlib import Path

PROBE = bytes(1 << 20)


def system_error(error: BaseException, directory: Path) -> BaseException:
    """The system's own error, which torch hides behind one about positions in a file, or does not keep at all.

    Args:
        error: what the write ended with.
        directory: where it was; the system is asked there again if the error does not hold its answer.

    Returns:
        An OSError, or `error` where the system has nothing against writing.
    """
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__cause__ or found.__context__
    return found or refusal(directory) or error


def refusal(directory: Path) -> OSError | None:
    """Why a megabyte cannot be written to this directory; None: it can."""
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            left = memoryview(PROBE)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
    except OSError as error:
        return error
    return None


def reason(error: BaseException) -> str:
    """What went wrong: the first line of an error, or its name when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
