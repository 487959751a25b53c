"""Queries, goals, patterns and answers of browsing agents, compared by what they say.

Every comparison is symmetric and asks `on`, the names of the switches that may be used. What makes two texts different
(numbers, names, directions, negations) never depends on a switch.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from pivot.verify.dates import MONTH
from pivot.verify.facts import facts
from pivot.verify.texts import unicode_form
from pivot.verify.urls import canonical_url
from pivot.verify.words import overlap, stem, word_set

_LONGEST_QUERY, _LONGEST_ANSWER = 400, 1_000
_OPERATOR = re.compile(
    r"(?<!\S)(-?)(site|filetype|ext|intitle|inurl|intext|before|after|author):(\"[^\"]{0,200}\"|\S{1,200})", re.I
)
_EXCLUDED = re.compile(r"(?<!\S)-(?=[\w\"])(\"[^\"]{0,200}\"|\w{1,60})")
_EITHER = re.compile(r"(?<!\S)(?:OR|\|)(?!\S)")
_QUOTED = re.compile(r"\"([^\"]{1,200})\"")
_WORD = re.compile(r"[^\W_]+(?:\+\+|#(?!\w))?")
_INSIDE = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|(?<=\b[A-Za-z])\.(?=[A-Za-z]\b)|(?<=\w)['\u2019]s\b")
# Words of questions that a search engine does not need; never `not`, `before`, `first` and the like.
_STOP = word_set(
    """
    a an the of in on at to for from by with and or is are was were be been do does did has have had what which who whom
    whose when where how that this these those it its as about into there i me my you your please find tell show list
    information info search look up
    """
)
_ARTICLES = word_set("a an the")
# Further words that ask for something else: those that exclude or choose, and what can be asked about a thing.
_DECISIVE = word_set(
    """
    not no never without except non before after since until under over below above less more fewer least most bc bce
    last next previous former current only other oldest youngest newest largest biggest smallest tallest highest longest
    shortest best worst latest earliest hundred thousand million billion trillion percent
    """
)
_ATTRIBUTES = word_set(
    """
    age height length depth width weight size distance number cause reason birthplace birthdate address phone email
    price cost born population area capital mother father parents parent husband wife spouse son daughter children child
    brother sister siblings sibling grandson granddaughter grandfather grandmother author director cast occupation
    profession job education nationality religion salary
    """
)
_OTHERWISE = frozenset(map(stem, _DECISIVE | _ATTRIBUTES))
_NUMBERS = {
    word: number
    for number, forms in enumerate(
        """
        two/second three/third four/fourth five/fifth six/sixth seven/seventh eight/eighth nine/ninth ten/tenth
        eleven/eleventh twelve/twelfth thirteen/thirteenth fourteen/fourteenth fifteen/fifteenth sixteen/sixteenth
        seventeen/seventeenth eighteen/eighteenth nineteen/nineteenth twenty/twentieth
        """.split(),
        start=2,
    )
    for word in forms.split("/")
} | {"first": 1}
_TENS = {
    word: 10 * number for number, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), start=3)
} | {"twenty": 20}  # fmt: skip
_ORDINAL = re.compile(r"(\d{1,9})(?:st|nd|rd|th)")
_ROMAN = re.compile(r"(?=[ivx])(x{0,3})(ix|iv|v?i{0,3})")
_UNITS = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")
# Questions and the nouns that ask the same.
_HOW = (
    "tall height, high height, deep depth, long length, wide width, old age, heavy weight, far distance, big size, "
    "large size, many number"
)
_WHO = "won winner, wrote author, built builder, led leader, sang singer"
_QUESTIONS = (
    *((re.compile(rf"\bhow {verb}\b", re.I), noun) for verb, noun in map(str.split, _HOW.split(", "))),
    *((re.compile(rf"^who {verb}\b", re.I), noun) for verb, noun in map(str.split, _WHO.split(", "))),
    (re.compile(r"\bwhere (?:was|were|is) (\S.{0,100}) born\b", re.I), r"birthplace \1"),
    (re.compile(r"\bwhen (?:was|were|is) (\S.{0,100}) born\b", re.I), r"birthdate \1"),
    (re.compile(r"\b(?:place of birth|birth place)\b", re.I), "birthplace"),
    (re.compile(r"\b(?:date of birth|birth date)\b", re.I), "birthdate"),
)
_ASKED = re.compile(
    r"(?i)[\s\"]{0,9}(?:(who|whom|whose)|(when|(?:in |on |at )?(?:what|which) (?:year|date|day|month|century|decade))"
    r"|(where|(?:in |at )?(?:what|which) (?:city|town|country|place|village|state))|(why)|(how))\b"
)
_SPELLINGS = (
    (re.compile(r"(?<=\w\w)our(?=s?$|ed$|ing$|ful$|ite|able$)"), "or"),
    (re.compile(r"(?<=\w\w)is(?=(?:e|ed|er|ers|es|ing|ation|ations)$)"), "iz"),
    (re.compile(r"(?<=\w\w)tre(?=s?$)"), "ter"),
)
_LETTERS = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ß": "ss", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
_MOST_ACRONYMS, _LONGEST_ACRONYM = 8, 6
_AGENT_LENGTH, _AGENT_ENDINGS = 5, ("or", "er", "r")
_LINKS = word_set("of before after over against than")
_IRREGULAR = word_set("beat beaten won wrote written led made built taught met shot stolen bought sold sung lost drew")
_PERCENT = re.compile(r"\s{0,4}\bper ?cent\b", re.I)
_SIGNS = re.compile(r"(?<![\w.])-(?=\d)|%")
_MONTH = re.compile(MONTH)
_facts = lru_cache(maxsize=64)(facts)


def same_answer(actual: str, expected: str, on: Set[str]) -> bool:
    """Whether two short answers, or pieces of evidence, are one. Articles never count."""
    if actual == expected:
        return True
    if max(len(actual), len(expected)) > _LONGEST_ANSWER:
        return False
    sides = [_PERCENT.sub("%", unicode_form(text)) for text in (actual, expected)]
    tokens = [[token for token in _tokens(text) if token.low not in _ARTICLES] for text in sides]
    if _SIGNS.findall(sides[0]) != _SIGNS.findall(sides[1]) or any(not side for side in tokens):
        return False
    shown = [[form for token in side for form in token.shown(on)] for side in tokens]
    if shown[0] == shown[1]:
        return _points(sides[0]) == _points(sides[1])
    return "answer_facts" in on and _same_facts(sides, tokens)


def _same_facts(sides: Sequence[str], tokens: Sequence[Sequence["_Token"]]) -> bool:
    """The same numbers, dates and ids in the same order, where one only has more words, and no names among them."""
    found = [_facts(text).all() for text in sides]
    if not found[0] or found[0] != found[1]:
        return False
    if len(found[0]) > 1 and len({tuple(token.value for token in side if token.value) for side in tokens}) > 1:
        return False
    words = [Counter(stem(t.low) for t in side if not t.value and not _MONTH.fullmatch(t.low)) for side in tokens]
    spare = words[0] - words[1], words[1] - words[0]
    shown = {word for text in sides for word in _WORD.findall(text) if word[0].isupper()}
    names = {stem(word.casefold()) for word in shown if word.casefold() not in _STOP}
    return not (spare[0] and spare[1]) and not (set(spare[0]) | set(spare[1])) & (_OTHERWISE | names)


def _points(text: str) -> list[str]:
    """Signs inside numbers: 1.5 is not 15."""
    return re.findall(r"(?<=\d)[.:/-](?=\d)", text)


def same_pattern(actual: str, expected: str, on: Set[str]) -> bool:
    """Whether two patterns find the same in a page; blanks and quotes around them never count."""
    if actual == expected or max(len(actual), len(expected)) > _LONGEST_ANSWER:
        return actual == expected
    one, other = (" ".join(unicode_form(text).strip(" \t\n\"'").split()) for text in (actual, expected))
    return one == other or ("text_case" in on and one.casefold() == other.casefold())


def same_goal(actual: str, expected: str, on: Set[str]) -> bool:
    """Whether two tasks for one page are near each other: one has none, or they share a word and contradict in none."""
    if actual == expected:
        return True
    if "page_goal" not in on or max(len(actual), len(expected)) > _LONGEST_QUERY:
        return False
    if not actual or not expected:
        return True
    one, other = _read(actual, frozenset(on)), _read(expected, frozenset(on))
    hard = one.said.hard - other.said.hard, other.said.hard - one.said.hard
    return (
        not (hard[0] and hard[1])
        and not _contradict(one.said, other.said)
        and not one.words.keys().isdisjoint(other.words)
    )


def same_query(actual: str, expected: str, least: float, on: Set[str]) -> bool:
    """Whether two queries ask for the same.

    One may say more than the other as long as they overlap by `least`, but never a further number or acronym, or a word
    that asks for something else. Where each has a word that the other lacks, they are different: `Marie Curie husband`
    and `Pierre Curie husband` are alike and not the same. Punctuation and blanks never count.
    """
    if actual == expected:
        return True
    if max(len(actual), len(expected)) > _LONGEST_QUERY:
        return False
    one, other = _read(actual, frozenset(on)), _read(expected, frozenset(on))
    mine, theirs = one.said, other.said
    if mine.operators != theirs.operators or (mine.phrases != theirs.phrases and "query_quotes" not in on):
        return False
    if _contradict(mine, theirs) or not one.tokens or not other.tokens:
        return False
    if "query_initials" in on:
        one, other = one.shortened(other), other.shortened(one)
    if "query_words" not in on:
        return one.tokens == other.tokens
    spare = one.words - other.words, other.words - one.words
    if _renamed(mine, theirs):
        return False
    if spare[0] and spare[1]:
        return "query_questions" in on and (_agent(mine, *spare) or _agent(theirs, *reversed(spare)))
    further = set(spare[0] or spare[1])
    if not further:
        return True
    if "query_overlap" not in on or further & (mine.hard | theirs.hard | _OTHERWISE):
        return False
    return overlap(one.words, other.words) >= least


@dataclass(frozen=True, slots=True)
class _Token:
    """A word: in lower case, as it stands, the number that it is, whether it is part of a name, or an acronym."""

    low: str
    raw: str
    value: str = ""
    name: bool = False
    acronym: bool = False

    def shown(self, on: Set[str]) -> list[str]:
        """What is compared."""
        if self.value:
            return [self.value] if "number_words" in on else self.low.split()
        return [self.low if "text_case" in on else self.raw]


@lru_cache(maxsize=256)
def _tokens(text: str) -> tuple[_Token, ...]:
    found: list[_Token] = []
    raw = _WORD.findall(_INSIDE.sub("", text))
    shouted = text.isupper()
    for at, word in enumerate(raw):
        low, value = word.casefold(), _number(raw, at)
        if value is not None and 0 < value < 10 and found and found[-1].low in _TENS:
            tens = found.pop().low
            found.append(_Token(f"{tens} {low}", word, str(_TENS[tens] + value)))
        elif value is not None or any(char.isdigit() for char in word):
            found.append(_Token(low, word, low if value is None else str(value)))
        else:
            beside = raw[max(at - 1, 0) : at] + raw[at + 1 : at + 2]
            name = word[0].isupper() and any(other[0].isupper() for other in beside)
            acronym = not shouted and 1 < len(word) <= _LONGEST_ACRONYM and word.isupper()
            found.append(_Token(low, word, name=name, acronym=acronym))
    return tuple(found)


def _number(words: Sequence[str], at: int) -> int | None:
    """What a number word, an ordinal, or a Roman numeral behind another word stands for."""
    low = words[at].casefold()
    if low in _NUMBERS or low in _TENS:
        return _NUMBERS.get(low) or _TENS[low]
    if found := _ORDINAL.fullmatch(low):
        return int(found[1])
    found = _ROMAN.fullmatch(low) if at else None
    if found is None or (len(low) == 1 and not (words[at].isupper() and words[at - 1][0].isupper())):
        return None
    return 10 * len(found[1]) + _UNITS.index(found[2])


def _unaccented(word: str) -> str:
    if word.isascii():
        return word
    parts = unicodedata.normalize("NFD", word.translate(_LETTERS))
    return "".join(char for char in parts if not unicodedata.combining(char)) or word


@lru_cache(maxsize=8192)
def _plain(word: str) -> str:
    """The stem of a word without accents and in American spelling."""
    word = _unaccented(word)
    for pattern, spelling in _SPELLINGS:
        word = pattern.sub(spelling, word)
    return stem(word)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What a query says, under whatever switches.

    Attributes:
        operators: What a search engine obeys.
        phrases: What stands in quotes.
        asked: Which question it begins with: 1 who, 2 when, 3 where, 4 why, 5 how; 0 for none.
        tokens: Its words.
        noun_tokens: The same, with nouns in place of questions.
        hard: Its numbers and acronyms.
        names: Capitalised words beside capitalised words, to their stems.
        others: All words, to their stems.
        cased: Whether it has capitals at all.
        roles: Who does a thing, and whence or whither it goes: a word, what it takes part in, and on which side.
    """

    operators: tuple[tuple[str, str, str], ...]
    phrases: tuple[str, ...]
    asked: int
    tokens: tuple[_Token, ...]
    noun_tokens: tuple[_Token, ...]
    hard: frozenset[str]
    names: Mapping[str, str]
    others: Mapping[str, str]
    cased: bool
    roles: frozenset[tuple[str, str, int]]


@dataclass(frozen=True, slots=True)
class _Query:
    """A query under some switches: what it says, its words in order, and their stems."""

    said: _Parsed
    tokens: tuple[str, ...]
    words: Counter[str]

    def shortened(self, other: "_Query") -> "_Query":
        """The query with the other one's acronyms in place of the words whose initials they are."""
        tokens = list(self.tokens)
        acronyms = {token.low for token in other.said.tokens if token.acronym}
        known = {token for token in other.tokens if token.casefold() in acronyms} - set(tokens)
        for acronym in sorted(known)[:_MOST_ACRONYMS]:
            at = "".join(token[0] for token in tokens).casefold().find(acronym.casefold())
            if at >= 0:
                tokens[at : at + len(acronym)] = [acronym]
        return self if len(tokens) == len(self.tokens) else _Query(self.said, tuple(tokens), _stems(tokens))


def _stems(tokens: Iterable[str]) -> Counter[str]:
    return Counter(token if token[0].isdigit() else _plain(token) for token in tokens)


@lru_cache(maxsize=256)
def _parsed(text: str) -> _Parsed:
    text = unicode_form(text)
    operators = [(sign, name.casefold(), _operand(name, value)) for sign, name, value in _OPERATOR.findall(text)]
    text = _OPERATOR.sub(" ", text)
    operators += [("-", "", word.casefold()) for word in _EXCLUDED.findall(text)]
    operators += [("", "or", "")] * len(_EITHER.findall(text))
    text = _EITHER.sub(" ", _EXCLUDED.sub(" ", text))
    phrases = sorted(" ".join(phrase.casefold().split()) for phrase in _QUOTED.findall(text))
    asked = _ASKED.match(text)
    tokens, nouns = _tokens(text), text
    for pattern, words in _QUESTIONS:
        nouns = pattern.sub(words, nouns)
    return _Parsed(
        tuple(sorted(operators)), tuple(phrases), asked.lastindex or 0 if asked else 0, tokens,
        _tokens(nouns),
        frozenset(form for word in tokens if word.value or word.acronym for form in (word.value, *word.low.split())),
        {_unaccented(token.low): _plain(token.low) for token in tokens if token.name},
        {_unaccented(token.low): _plain(token.low) for token in tokens},
        any(char.isupper() for char in text),
        _roles([token.low for token in tokens if token.low not in _ARTICLES]),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _read(text: str, on: frozenset[str]) -> _Query:
    said = _parsed(text)
    tokens = said.noun_tokens if "query_questions" in on else said.tokens
    kept = [token for token in tokens if token.value or token.low not in _STOP or "query_stop_words" not in on]
    shown = [form for token in kept or tokens for form in token.shown(on)]
    return _Query(said, tuple(shown), _stems(shown))


def _operand(name: str, value: str) -> str:
    value = value.strip('"').casefold()
    return (canonical_url(value) or value) if name.casefold() == "site" else value


def _roles(words: Sequence[str]) -> frozenset[tuple[str, str, int]]:
    found: set[tuple[str, str, int]] = set()
    for at, word in enumerate(words):
        left, right, behind = (words[at + step] if 0 <= at + step < len(words) else "" for step in (-1, 1, 2))
        if word in _LINKS:
            found |= {(left, f"{word} {stem(right)}", 1), (right, f"{word} {stem(left)}", -1)}
        elif word in ("to", "from"):
            found |= {(right, "way", 1 if word == "to" else -1)} | ({(left, "way", -1)} if word == "to" else set())
        elif right == "by" and (word.endswith("ed") or word in _IRREGULAR):
            found |= {(behind, stem(word), 1), (left, stem(word), -1)}
        elif (word.endswith("ed") or word in _IRREGULAR) and right not in _STOP:
            found |= {(left, stem(word), 1), (right, stem(word), -1)}
    return frozenset((stem(word), part, side) for word, part, side in found if word and word not in _STOP)


def _contradict(one: _Parsed, other: _Parsed) -> bool:
    """Whether the questions begin differently, or a word is on the other side of what both speak of."""
    if one.asked and other.asked and one.asked != other.asked:
        return True
    theirs = other.roles - one.roles
    return any((word, part, -side) in theirs for word, part, side in one.roles - other.roles)


def _renamed(one: _Parsed, other: _Parsed) -> bool:
    """Whether only inflection makes a name of one a name of the other: Henrike is not Henrik."""
    for mine, theirs in ((one, other), (other, one)):
        for name, root in mine.names.items():
            if name in theirs.others:
                continue
            twins = {word for word, stemmed in theirs.others.items() if stemmed == root}
            if twins and (not theirs.cased or not twins.isdisjoint(theirs.names)):
                return True
    return False


def _agent(asking: _Parsed, verb: Counter[str], noun: Counter[str]) -> bool:
    """Whether one asks who does what the other has a word for: `who directed …`, `director of …`."""
    if asking.asked != 1 or verb.total() != 1 or noun.total() != 1:
        return False
    done, doer = next(iter(verb)), next(iter(noun))
    return len(done) >= _AGENT_LENGTH and doer.startswith(done) and doer[len(done) :] in _AGENT_ENDINGS
