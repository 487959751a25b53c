"""Queries, patterns and answers of browsing agents, compared by what they say."""

import re
from collections import Counter
from collections.abc import Set

from pivot.verify.facts import facts
from pivot.verify.texts import unicode_form
from pivot.verify.urls import canonical_url
from pivot.verify.words import overlap, stem, word_set

_LONGEST = 4_000
_OPERATOR = re.compile(
    r"(?<!\S)(-?)(site|filetype|ext|intitle|inurl|intext|before|after|author):(\"[^\"]{0,200}\"|\S{1,200})", re.I
)
_EXCLUDED = re.compile(r"(?<!\S)-(?=[^\W\d_])(\w{1,60})")
_WORD = re.compile(r"[^\W_]+")
_QUOTED = re.compile(r"\"([^\"]{1,200})\"")
# Words of questions that a search engine does not need; never `not`, `before`, `first` and the like.
_STOP = word_set(
    """
    a an the of in on at to for from by with and or is are was were be been do does did has have had what which who whom
    whose when where how that this these those it its as about into there i me my you your please find tell show list
    information info search look up
    """
)
_ARTICLES = word_set("a an the")
_SPELLING_LENGTH, _SPELLING = 5, 2  # words this long may differ in so many letters at their end
_MARKED = re.compile(
    r"(?im)^[ \t*#>_-]{0,8}(?:the )?(?:(?:exact|final|short) )?answer[ \t*_]{0,4}[:=][ \t*_]{0,4}(\S[^\n]{0,400})"
)
_BOXED = re.compile(r"\\boxed\{([^{}]{1,400})\}")
_CLOSING = re.compile(r"\(?\s*confidence\b.*", re.I | re.S)


def marked_answer(text: str) -> str | None:
    """The last answer that a message marks as one: `Exact Answer: …` or a box."""
    found = [*_MARKED.finditer(text[-20_000:]), *_BOXED.finditer(text[-20_000:])]
    if not found:
        return None
    last = max(found, key=lambda match: match.start())
    answer = _CLOSING.sub("", last[1]).strip(" \t*_`\"'.")
    return answer or None


def same_answer(actual: str, expected: str) -> tuple[str, ...] | None:
    """The switches under which two short answers, or pieces of evidence, are one; None where they are not."""
    if actual == expected:
        return ()
    if max(len(actual), len(expected)) > _LONGEST:
        return None
    mine, theirs = (unicode_form(text) for text in (actual, expected))
    found, wanted = facts(mine).all(), facts(theirs).all()
    words = [[word for word in _WORD.findall(text.casefold()) if word not in _ARTICLES] for text in (mine, theirs)]
    if words[0] == words[1] and _signs(mine) == _signs(theirs):
        return ("answer_form",)
    if not wanted or found != wanted:
        return None
    # The same numbers, dates and ids; the words around them must not contradict.
    plain = [Counter(stem(word) for word in side if not any(char.isdigit() for char in word)) for side in words]
    spare = plain[0] - plain[1], plain[1] - plain[0]
    return (
        ("answer_facts",) if not (spare[0] and spare[1]) and not _NEGATIONS & (set(spare[0]) | set(spare[1])) else None
    )


_NEGATIONS = word_set("no not never without except non")


def _signs(text: str) -> list[str]:
    """Signs in front of and inside numbers: -5 is not 5, nor 1.5 the same as 15."""
    return re.findall(r"(?<!\w)-(?=\d)|(?<=\d)[.,:/%-](?=\d)|%", text.replace(",", ""))


def same_pattern(actual: str, expected: str) -> bool:
    """Whether two patterns find the same in a page: case, blanks and quotes around them do not count."""
    return _pattern(actual) == _pattern(expected)


def _pattern(text: str) -> str:
    return " ".join(unicode_form(text[:_LONGEST]).strip(" \t\n\"'").casefold().split())


def same_query(actual: str, expected: str, least: float, on: Set[str]) -> tuple[str, ...] | None:
    """The switches under which two queries ask for the same; None where they do not. Symmetric.

    One may say more than the other as long as they are alike enough, but never a further number; where each has a
    word that the other lacks, these must be spellings of one word, for `Marie Curie husband` and `Pierre Curie husband`
    are alike and not the same.
    """
    if actual == expected:
        return ()
    if max(len(actual), len(expected)) > _LONGEST:
        return None
    one, other = _Query(actual, on), _Query(expected, on)
    if one.operators != other.operators or (one.phrases != other.phrases and "query_quotes" not in on):
        return None
    if " ".join(one.text.split()) == " ".join(other.text.split()):
        return ("query_form",)
    if one.words == other.words and one.words:
        return ("query_words",)
    spare = one.words - other.words, other.words - one.words
    if any(char.isdigit() for side in spare for word in side for char in word):
        return None
    if spare[0] and spare[1]:
        return ("query_words",) if _spellings(*spare) else None
    return ("query_overlap",) if least < 1.0 and overlap(one.words, other.words) >= least else None


def _spellings(one: Counter[str], other: Counter[str]) -> bool:
    left, right = sorted(one.elements()), sorted(other.elements())
    return len(left) == len(right) and all(map(_spelling, left, right))


def _spelling(one: str, other: str) -> bool:
    """Words that differ in few letters behind a long common beginning: `organisation`, `organization`."""
    shared = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        shared += 1
    rest = max(len(one), len(other)) - shared
    behind = one[shared + 1 :] == other[shared + 1 :] and len(one) == len(other)
    return shared >= _SPELLING_LENGTH and (rest <= _SPELLING or behind)


class _Query:
    """A query in normal form."""

    def __init__(self, text: str, on: Set[str]) -> None:
        text = unicode_form(text)
        self.operators = sorted(
            (sign, name.casefold(), _operand(name.casefold(), value.strip('"').casefold()))
            for sign, name, value in _OPERATOR.findall(text)
        )
        text = _OPERATOR.sub(" ", text)
        self.operators += sorted(("-", "", word.casefold()) for word in _EXCLUDED.findall(text))
        text = _EXCLUDED.sub(" ", text)
        self.phrases = sorted(" ".join(phrase.casefold().split()) for phrase in _QUOTED.findall(text))
        self.text = text.casefold().replace('"', " ").strip(" ?.!")
        found = [word for word in _WORD.findall(self.text) if "query_stop_words" not in on or word not in _STOP]
        self.words = Counter(word if any(char.isdigit() for char in word) else stem(word) for word in found)


def _operand(name: str, value: str) -> str:
    return (canonical_url(value) or value) if name == "site" else value
