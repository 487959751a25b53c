"""How alike two pieces of prose are: a symmetric similarity without a model, 1 for the same text."""

import re
from collections import Counter

from pivot.verify.exchanged import exchanged
from pivot.verify.facts import conflict, facts
from pivot.verify.names import foreign_names
from pivot.verify.words import overlap, topic, word_set, words

_LONGEST = 20_000
# Two texts this alike, of which only one negates, differ in nothing but the negation.
_ALMOST_EQUAL = 0.7
# One word among few decides what a text says: up to so many topic words this much is asked for, less from so many on.
_FEW, _MANY, _LEAST_OF_FEW = 4, 12, 0.8
_OPERATOR = re.compile(r"(?<!\S)(?:-?\w{1,30}:\S{1,200}|-\w{1,60}|-?\"[^\"\n]{1,200}\"|OR(?!\S))")
_NEGATIONS = word_set(
    "no not never none neither nor without cannot can't don't doesn't didn't won't isn't aren't wasn't unable"
)


def similarity(left: str, right: str) -> float:
    """Dice overlap of topic words; 0 where each text holds a number, id, date or name that the other lacks.

    A text that leaves out a number is a shorter account; one with another number is another account.
    """
    if words(left) == words(right):
        return 1.0
    if max(len(left), len(right)) > _LONGEST:
        return 0.0
    if conflict(facts(left), facts(right)) or (foreign_names(left, right) and foreign_names(right, left)):
        return 0.0
    alike = overlap(topic(left), topic(right))
    if alike >= _ALMOST_EQUAL and (_negates(left) != _negates(right) or exchanged(left, right)):
        return 0.0
    return alike


def same(left: str, right: str, least: float) -> bool:
    """Whether two texts are alike enough to say the same.

    Args:
        left: One text.
        right: The other.
        least: Least similarity of long texts; short ones need more.
    """
    return similarity(left, right) >= _needed(min(topic(left).total(), topic(right).total()), least)


def same_query(left: str, right: str, least: float) -> bool:
    """Whether two queries look for the same: alike, with the same operators.

    Args:
        left: One query.
        right: The other.
        least: Least similarity.
    """
    return _operators(left) == _operators(right) and similarity(left, right) >= least


def _operators(query: str) -> Counter[str]:
    """`from:ada`, `-word`, `"phrase"` and `OR` of a query."""
    return Counter(found.casefold() if found != "OR" else found for found in _OPERATOR.findall(query[:_LONGEST]))


def _needed(size: int, least: float) -> float:
    share = min(max((_MANY - size) / (_MANY - _FEW), 0.0), 1.0)
    return least + share * max(_LEAST_OF_FEW - least, 0.0)


def _negates(text: str) -> bool:
    return not _NEGATIONS.isdisjoint(words(text))
