"""Dates that can be read in one way only, in one form."""

import re
from datetime import UTC, date, datetime

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_LONGEST = 40
_YEAR_FIRST = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4})")
_MONTH_FIRST = re.compile(rf"{MONTH} (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})")
_DAY_FIRST = re.compile(rf"(\d{{1,2}})(?:st|nd|rd|th)?[ -](?:of )?{MONTH}[ ,-]{{1,2}}(\d{{4}})")
_ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?")


def month_number(name: str) -> int:
    """1 to 12 of an English month name in lower case, whole or cut."""
    return _MONTHS.index(name[:3]) + 1


def _plain(text: str) -> tuple[int, int, int] | None:
    """Year, month, day; None where the text is no date or could be two (05/06/2024)."""
    low = " ".join(text.casefold().split())
    if found := _YEAR_FIRST.fullmatch(low):
        return int(found[1]), int(found[3]), int(found[4])
    if found := _MONTH_FIRST.fullmatch(low):
        return int(found[3]), month_number(found[1]), int(found[2])
    if found := _DAY_FIRST.fullmatch(low):
        return int(found[3]), month_number(found[2]), int(found[1])
    if found := _YEAR_LAST.fullmatch(low):
        left, right = int(found[1]), int(found[3])
        if left > 12 or left == right:
            return int(found[4]), right, left
        if right > 12:
            return int(found[4]), left, right
    return None


def normal_date(text: str) -> str | None:
    """ISO form of a text that is a whole date or an ISO time (with a zone: in UTC), else None."""
    text = text.strip()
    if len(text) > _LONGEST or not text.isascii() or not any(char.isdigit() for char in text):
        return None
    try:
        if _ISO_TIME.fullmatch(text):
            moment = datetime.fromisoformat(text)
            return (moment.astimezone(UTC) if moment.tzinfo else moment).isoformat()
        plain = _plain(text)
        return None if plain is None else date(*plain).isoformat()
    except (ValueError, OverflowError):  # the 31st of February; the first moment of the calendar in another zone
        return None
