"""Words of a text, reduced to what paraphrases share, and how much two texts share."""

import re
from collections import Counter


def word_set(text: str) -> frozenset[str]:
    """The words of a written list."""
    return frozenset(text.split())


_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_SUFFIXES = (
    "ications", "ication", "ations", "ation", "ments", "ment", "ances", "ance", "ings", "ing", "ions", "ion",
    "ies", "ied", "ed", "es", "ly", "s", "e", "y",
)  # fmt: skip
_SHORTEST_STEM = 3
# Words that carry no topic: articles, pronouns, auxiliaries, prepositions, politeness, and the two roles.
_EMPTY = word_set(
    """
    a about able again agent all also am an and any anything are as assist at be because been before being but by
    can could customer did do does doing done for from further get give glad go going had has have having he hello
    help her here hi him his how i i'd i'll i'm i've if in into is it it's its just kindly know let like make may me
    might more moment my need needs no not now of ok okay on once one or our out over please proceed provide see shall
    she should so some sorry such sure thank thanks that that's the their them then there these they this those to too
    unfortunately until up us user very want wants was way we we'll were what when where which while who will wish with
    would yes you you'd you'll you're you've your
    """
)


def words(text: str) -> list[str]:
    """All words of a text, case folded, an apostrophe inside kept."""
    return _WORD.findall(text.replace("\u2019", "'").casefold())


def stem(word: str) -> str:
    """A word without its ending: `cancelled`, `cancelling` and `cancellation` are one."""
    word = word.removesuffix("'s")
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST_STEM:
            word = word[: -len(suffix)]
            break
    return word[:-1] if len(word) > _SHORTEST_STEM and word[-1] == word[-2] else word


def topic(text: str) -> Counter[str]:
    """Stems of the words that carry a topic; words with digits are facts and no topic."""
    return Counter(
        stem(word) for word in words(text) if word not in _EMPTY and not any(char.isdigit() for char in word)
    )


def overlap(left: Counter[str], right: Counter[str]) -> float:
    """Dice overlap of two multisets, in [0, 1]; symmetric, 1 for equal ones that are not empty."""
    total = left.total() + right.total()
    return 2 * (left & right).total() / total if total else 0.0
