"""What a paraphrase cannot change: the numbers, ids, dates, codes, names and states of a message."""

import re

_LIST_MARKER = re.compile(r"(?m)^[ \t]{0,16}(?:\d{1,2}[.)]|[-*\u2022])[ \t]")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_MONTH_FIRST = re.compile(rf"\b{_MONTH} (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?\b")
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{_MONTH}(?:,? (\d{{4}}))?(?!\w)")
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_NUMBER = re.compile(r"[$\u20ac\u00a3]?(\d{1,3}(?:,\d{3}){1,8}|\d{1,30})(\.\d{1,30})?%?")
_DATE_MARK = "@date:"
_EDGES = ".,;:!?()[]{}<>\"'`*_~|/\\\u2026\u201c\u201d\u2018\u2019#-"
_WORD = re.compile(r"\w+")
_MONTH_NAME = re.compile(_MONTH)
_QUOTES = ('"', "\u201c")
_SENTENCE_END = (".", "?", "!", ":", "\u2026")
# What things are or were done to them, in a customer's or a machine's world; a small written list.
_STATES = frozenset(
    {
        "accepted", "active", "approved", "available", "blocked", "booked", "cancelled", "closed",
        "completed", "confirmed", "created", "declined", "delayed", "deleted", "delivered", "denied",
        "disabled", "enabled", "exchanged", "expired", "failed", "inactive", "installed", "invalid",
        "lost", "pending", "processed", "refunded", "rejected", "removed", "reserved", "returned",
        "running", "shipped", "stopped", "succeeded", "suspended", "unavailable", "unpaid", "updated",
        "upgraded", "valid",
    }
)  # fmt: skip
_SPELLINGS = {"canceled": "cancelled"}


def clean(text: str) -> str:
    """One line without list markers; the typographic apostrophe made plain."""
    text = text.replace("\u2019", "'")
    return " ".join(_LIST_MARKER.sub(" ", text).split())


def _date(year: str | None, month: int, day: str) -> str:
    return f" {_DATE_MARK}{year or '?'}/{month}/{int(day)} "


def _with_plain_dates(text: str) -> str:
    """Lower-case text with every date in one form that counts as one fact."""
    text = _ISO_DATE.sub(lambda m: _date(m[1], int(m[2]), m[3]), text)
    text = _MONTH_FIRST.sub(lambda m: _date(m[3], _MONTHS.index(m[1][:3]) + 1, m[2]), text)
    return _DAY_FIRST.sub(lambda m: _date(m[3], _MONTHS.index(m[2][:3]) + 1, m[1]), text)


def _fact(token: str) -> str | None:
    """Normal form of a lower-case token that is a number, an id or an e-mail address; None for a word."""
    number = _NUMBER.fullmatch(token)
    if number is not None:
        digits = number[1].replace(",", "").lstrip("0") or "0"
        return digits + (number[2] or "").rstrip("0").rstrip(".")
    return token if any(char.isdigit() or char in "@_" for char in token) else None


def facts(text: str) -> frozenset[str]:
    """Numbers, ids, e-mail addresses, dates and upper-case codes of a message, in normal form."""
    line = clean(text)
    tokens = [token.strip(_EDGES) for token in line.split()]
    found = {token.lower() for token in tokens if len(token) >= 3 and token.isalpha() and token.isupper()}
    for raw in _with_plain_dates(line.lower()).split():
        fact = raw if raw.startswith(_DATE_MARK) else _fact(raw.strip(_EDGES))
        if fact is not None:
            found.add(fact)
    return frozenset(found)


def _is_name(token: str) -> bool:
    first_person = token == "I" or token.startswith("I'")
    return token[:1].isupper() and not first_person and not _MONTH_NAME.fullmatch(token.lower())


def names(text: str) -> frozenset[str]:
    """Lower-case words of capitalised tokens inside a sentence: people, places, products."""
    found: set[str] = set()
    for line in text.splitlines():
        first = True
        for raw in clean(line).split():
            token = raw.strip(_EDGES)
            if not first and not raw.startswith(_QUOTES) and _is_name(token):
                found.update(_WORD.findall(token.casefold()))
            if token:
                first = raw.rstrip("\"')*_").endswith(_SENTENCE_END)
    return frozenset(found)


def words(text: str) -> list[str]:
    """All words, case folded."""
    return _WORD.findall(text.casefold())


def states(text: str) -> frozenset[str]:
    """The states that the text names, of a written list."""
    return frozenset(_SPELLINGS.get(word, word) for word in words(text)) & _STATES
