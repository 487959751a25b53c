"""How alike two pieces of prose are: a symmetric similarity without a model, 1 for the same text."""

from pivot.verify.facts import conflict, facts
from pivot.verify.words import overlap, topic, word_set, words

_LONGEST = 20_000
# Two texts this alike, of which only one negates, differ in nothing but the negation.
_ALMOST_EQUAL = 0.7
_NEGATIONS = word_set(
    "no not never none neither nor without cannot can't don't doesn't didn't won't isn't aren't wasn't unable"
)


def similarity(left: str, right: str) -> float:
    """Dice overlap of topic words; 0 where each text holds a number, id or date that the other lacks.

    A text that leaves out a number is a shorter account; one with another number is another account.
    """
    if words(left) == words(right):
        return 1.0
    if max(len(left), len(right)) > _LONGEST:
        return 0.0
    if conflict(facts(left), facts(right)):
        return 0.0
    alike = overlap(topic(left), topic(right))
    if alike >= _ALMOST_EQUAL and _negates(left) != _negates(right):
        return 0.0
    return alike


def _negates(text: str) -> bool:
    return not _NEGATIONS.isdisjoint(words(text))
