"""What a check says: one row of the table."""

from dataclasses import dataclass
from enum import Enum
from typing import Self

from pivot.errors import UserError


class Status(Enum):
    """GREY: not applicable here; YELLOW: it runs, with a doubt or slowly; RED: it does not run, or wrongly."""

    GREEN = "green"
    GREY = "grey"
    YELLOW = "yellow"
    RED = "red"


@dataclass(frozen=True, slots=True)
class Row:
    """One finding.

    Attributes:
        name: `area.what`, stable from release to release.
        status: how bad it is.
        found: what is there, in one line.
        fix: what to do, in one line; every red and yellow row has one.
        source: where a known trouble is documented.
    """

    name: str
    status: Status
    found: str
    fix: str | None = None
    source: str | None = None

    @property
    def area(self) -> str:
        return self.name.partition(".")[0]

    @classmethod
    def green(cls, name: str, found: str) -> Self:
        return cls(name, Status.GREEN, found)

    @classmethod
    def grey(cls, name: str, found: str) -> Self:
        return cls(name, Status.GREY, found)

    @classmethod
    def yellow(cls, name: str, found: str, fix: str) -> Self:
        return cls(name, Status.YELLOW, found, fix)

    @classmethod
    def red(cls, name: str, found: str, fix: str) -> Self:
        return cls(name, Status.RED, found, fix)

    @classmethod
    def mistake(cls, name: str, error: UserError | str, fix: str = "change what it names") -> Self:
        """A red row of an error whose last part, after `;` or `:`, is the fix; `fix` when it has none."""
        text = str(error)
        for mark in ("; ", ": "):
            found, _, own = text.rpartition(mark)
            if found:
                return cls(name, Status.RED, found, own)
        return cls(name, Status.RED, text, fix)


def fit(rows: list[Row]) -> bool:
    """Whether nothing is red."""
    return all(row.status is not Status.RED for row in rows)
