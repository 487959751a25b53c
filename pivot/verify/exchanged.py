"""Whether two messages give the same facts to other things: `A for $5 and B for $7`, `A for $7 and B for $5`."""

import re

from pivot.verify.facts import facts
from pivot.verify.names import names, values
from pivot.verify.words import stem, word_set, words

# Where one thing that is said ends and the next begins; a relation stays with what follows it.
_CLAUSE = re.compile(
    r"\n|[.;:?!](?= |$)|, ?(?=[^\d])|(?<=\d), (?=\d)|[()]| (?:and|but|while|whereas|or) "
    r"| (?=(?:from|to|instead of|rather than|not|than|before|after|into|expected|got) )"
)
# An item of a list is one thing with all that is said of it.
_LINE = re.compile(r"\n|[;?!.](?= |$)")
_ROUTE = re.compile(r"\b(?<!from )([A-Z]{3}) ?(?:to|->|-|\u2192) ?(?=[A-Z]{3}\b)")
_SWITCHES, _SWITCHED = word_set("on off"), re.compile(r"\b(?:[Tt]urn|[Ss]witch|[Tt]oggle|[Ss]et)")
_UNSAID = word_set("the a an is are was were be been of for in on at with by it its this that your you i we us our and")
_MOST_FACTS, _MOST_CLAUSES = 40, 400

Ties = dict[str, frozenset[str]]


def exchanged(mine: str, theirs: str) -> frozenset[str]:
    """Two facts that each text holds, but ties to what the other ties the other one to; empty where there are none.

    A fact is tied to the words of the clauses that hold it, apart from those that hold the other fact too.
    """
    return _exchanged(mine, theirs, _CLAUSE) or _exchanged(mine, theirs, _LINE)


def _exchanged(mine: str, theirs: str, end: re.Pattern[str]) -> frozenset[str]:
    my_ties, their_ties = _ties(mine, end), _ties(theirs, end)
    both = sorted(my_ties.keys() & their_ties.keys())[:_MOST_FACTS]
    for at, one in enumerate(both):
        for other in both[at + 1 :]:
            if one[0] == other[0] and _swapped(one, other, my_ties, their_ties):
                return frozenset({one[2:], other[2:]})
    return frozenset()


def _swapped(one: str, other: str, mine: Ties, theirs: Ties) -> bool:
    my_one, my_other = mine[one] - mine[other] - {other}, mine[other] - mine[one] - {one}
    their_one, their_other = theirs[one] - theirs[other] - {other}, theirs[other] - theirs[one] - {one}
    crossed, straight = (my_one & their_other, my_other & their_one), (my_one & their_one, my_other & their_other)
    return all(crossed) and sum(map(len, crossed)) > sum(map(len, straight))


def _ties(text: str, end: re.Pattern[str]) -> Ties:
    """Of every fact, by kind (`n:5`), what is said in its clauses."""
    found: dict[str, set[str]] = {}
    codes = facts(text).codes  # of the whole text: a clause of one code looks like shouting
    for clause in end.split(_ROUTE.sub(r"from \1 to ", text))[:_MOST_CLAUSES]:
        held = _held(clause, codes)
        said = held | {stem(word) for word in words(clause) if word not in _UNSAID and not any(map(str.isdigit, word))}
        for fact in held:
            found.setdefault(fact, set()).update(said - {fact, *_own_words(fact)})
    return {fact: frozenset(said) for fact, said in found.items()}


def _held(clause: str, codes: frozenset[str]) -> set[str]:
    given = facts(clause)
    kinds = {
        "i": given.ids,
        "n": given.numbers,
        "d": given.dates,
        "t": given.times,
        "s": given.spans,
        "c": codes.intersection(words(clause)),
        "v": values(clause),
        "w": names(clause) - codes,
        "x": _SWITCHES.intersection(words(clause)) if _SWITCHED.search(clause) else frozenset[str](),
    }
    return {f"{kind}:{fact}" for kind, listed in kinds.items() for fact in listed}


def _own_words(fact: str) -> set[str]:
    return {stem(word) for word in words(fact[2:])}
