"""Seconds a phase: where the time of a step goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Adds up wall-clock seconds by phase until they are taken."""

    def __init__(self, begins: Callable[[str], None] = lambda name: None) -> None:
        """`begins` is told the name of every phase that begins."""
        self._seconds: dict[str, float] = {}
        self._begins = begins

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the `with` block under `name`."""
        self._begins(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """The seconds so far by phase; the clock starts again from nothing."""
        seconds, self._seconds = self._seconds, {}
        return seconds
