"""Names and states in a text: who and where, and what things are or were done to them."""

import re

from pivot.verify.facts import plain
from pivot.verify.words import word_set, words

_EDGES = ".,;:!?()[]{}<>\"'`*_~|/\\\u2026#-"
_WORD = re.compile(r"\w+")
_SENTENCE_END = (".", "?", "!", ":")
_STATES = word_set(
    """
    accepted active approved blocked cancelled closed declined delayed delivered denied disabled enabled exchanged
    expired failed inactive invalid lost open overdue pending refunded rejected returned shipped
    succeeded suspended unpaid valid
    """
)
_SPELLINGS = {
    "canceled": "cancelled", "overdue": "unpaid", "denied": "declined", "rejected": "declined", "late": "delayed",
    "locked": "blocked",
    "enabled": "active", "disabled": "inactive",
}  # fmt: skip
_STATE_OF_LATE = word_set("running is are be")  # "too late" and "late fee" are no delay
_DENIED = {
    "approved": "declined", "accepted": "declined", "active": "inactive", "enabled": "inactive", "open": "closed",
    "paid": "unpaid", "valid": "invalid",
}  # fmt: skip
_NOT = word_set("not never isn't aren't wasn't weren't hasn't haven't hadn't don't doesn't didn't")
# A full stop after these ends no sentence.
_SHORTENED = frozenset({"dr.", "mr.", "mrs.", "ms.", "prof.", "vs.", "e.g.", "i.e.", "approx."})
# Classes, plans, colours, days: where one message says one and the other another, they do not say the same.
_VALUES = word_set(
    """
    basic economy business premium standard first regular silver gold platinum
    red blue green black white yellow orange purple pink grey gray brown navy
    monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday
    small medium large weekly monthly yearly daily
    """
)
# Capitalised by habit, not because they name something.
_HABITS = word_set(
    """
    january february march april may june july august september october november december monday tuesday wednesday
    thursday friday saturday sunday am pm est id ids dob usd yes no ok gold silver regular
    economy business basic flight flights reservation order passenger passengers departure arrival price total cabin
    class payment method card gift credit certificate date time seats available trip type origin destination details
    duration insurance baggage bags number option user name new current status item items summary policy customer please
    """
)


def names(text: str) -> frozenset[str]:
    """Words of capitalised tokens inside a sentence, case folded: people, places, products."""
    found: set[str] = set()
    for line in text.splitlines():
        first = True
        for raw in plain(line).split():
            token = raw.strip(_EDGES)
            if not first and _is_name(token):
                found.update(word for word in _WORD.findall(token.casefold()) if len(word) > 1 and word not in _HABITS)
            if token:
                first = raw.rstrip("\"')*_").endswith(_SENTENCE_END) and raw.lower() not in _SHORTENED
    return frozenset(found)


def foreign_names(text: str, other: str) -> frozenset[str]:
    """Names of a text that the other does not hold, cut (`St` for `Street`) or whole."""
    known = set(_WORD.findall(other.casefold()))
    return frozenset(name for name in names(text) if not any(_alike(name, word) for word in known))


def _alike(name: str, word: str) -> bool:
    return name == word or (len(name) > 1 and word.startswith(name)) or (len(word) > 1 and name.startswith(word))


def _is_name(token: str) -> bool:
    first_person = token == "I" or token.startswith("I'")
    return token[:1].isupper() and not first_person and not any(map(str.isdigit, token))


def values(text: str) -> frozenset[str]:
    """Classes, colours, days and the like that a text names, of a written list."""
    return frozenset(words(text)) & _VALUES


def states(text: str) -> frozenset[str]:
    """The states that a text says things are in, of a written list; not those they will or may be in.

    `not approved` is `declined`.
    """
    said = words(text)
    found: set[str] = set()
    for at, word in enumerate(said):
        before = said[max(0, at - 2) : at]
        if before[-1:] == ["be"] or (word == "late" and before[-1:] and before[-1] not in _STATE_OF_LATE):
            continue
        denied = not _NOT.isdisjoint(before)
        found.add(_DENIED.get(word, word) if denied else _SPELLINGS.get(word, word))
    return frozenset(_SPELLINGS.get(word, word) for word in found) & _STATES
