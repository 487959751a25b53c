"""Search queries and short answers: do two ask for, or say, the same?"""

import re
import unicodedata
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache

from pivot.verify.dates import normal_date
from pivot.verify.facts import facts
from pivot.verify.texts import unicode_form
from pivot.verify.words import overlap, stem, word_set

LONGEST = 4000
_MOST_WORDS = 400
_WORD = re.compile(r"[^\W_]+(?:[.'&][^\W_]+)*(?:\+\+|#)?")
_OPERATOR = re.compile(
    r"(?<!\S)(-?(?:site|filetype|intitle|inurl|intext|before|after):\"?[^\s\"]{1,200}|-[^\s-]\S{0,100})"
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_RANGE = re.compile(r"(?<=\d)\s?[-/]\s?(?=\d)")
_QUOTED = re.compile(r"\"([^\"]{1,400})\"")
_LEAD = re.compile(
    r"^(?:so |therefore |thus )?(?:the )?(?:final |exact |correct |short )?answer(?: is| was|:)[ :]{0,4}", re.I
)
_STOP = word_set(
    """
    a an the of in on at by to for from with and or as is are was were be been being do does did has have had its it's it
    this that these those there their his her what which who whom whose when where why how about into i me my we our you
    your please find tell search information info
    """
)
_ARTICLES = word_set("a an the")
# Words of which one cannot stand for the other, though most of a query is the same.
_OPPOSITES = tuple(
    frozenset(group.split())
    for group in (
        "before after since until during", "first last second third final original", "oldest youngest newest latest",
        "largest smallest biggest", "highest lowest", "tallest shortest longest", "most least", "min max",
        "minimum maximum", "male female men women", "mother father brother sister son daughter husband wife parents",
        "born died birth death", "birthplace deathplace", "won lost", "winner loser", "north south east west",
        "northern southern eastern western", "import export imports exports", "start end", "founded dissolved",
        "opened closed", "increase decrease", "buy sell", "above below", "over under", "with without", "not",
        "never", "excluding except without", "singer songwriter", "actor director producer writer", "home away",
        "pros cons", "causes symptoms treatment", "cause effect", "author publisher editor translator",
    )
)  # fmt: skip
_CONTRASTED = frozenset().union(*_OPPOSITES)


@dataclass(frozen=True, slots=True)
class Query:
    """A query in normal form.

    Attributes:
        said: All its words in order, case folded, without accents.
        content: Those that are no stop words; all of them where there are no others.
        numbers: Words with a digit.
        names: Capitalised words, folded.
        operators: `site:`, `-word` and the like.
        quoted: Phrases in quotes.
        contrasts: Words that have an opposite.
    """

    said: tuple[str, ...]
    content: tuple[str, ...]
    numbers: tuple[str, ...]
    names: frozenset[str]
    operators: frozenset[str]
    quoted: frozenset[str]
    contrasts: frozenset[str]


def _bare(text: str) -> str:
    """Without accents and typography, thousands without commas, ranges as two numbers."""
    plain = unicodedata.normalize("NFKD", unicode_form(text[:LONGEST]))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return _RANGE.sub(" ", _THOUSANDS.sub("", plain))


def _is_written_apart(word: str) -> bool:
    """Whether the word's script puts blanks between words; Chinese and Japanese do not."""
    return not any("\u3040" <= char <= "\u30ff" or "\u3400" <= char <= "\u9fff" for char in word)


def _folded(word: str) -> str:
    word = word.casefold().removesuffix("'s")
    return word if any(char.isdigit() for char in word) else word.replace(".", "").replace("'", "")


@lru_cache(maxsize=512)
def read_query(text: str) -> Query:
    """A query in normal form; of a text beyond `LONGEST` its beginning."""
    operators = frozenset(found.casefold().replace('"', "") for found in _OPERATOR.findall(text[:LONGEST]))
    bare = _bare(_OPERATOR.sub(" ", text[:LONGEST]))
    raw: list[str] = []
    for word in _WORD.findall(bare)[:_MOST_WORDS]:
        raw.extend([word] if _is_written_apart(word) else word)
    said = tuple(folded for word in raw if (folded := _folded(word)))
    content = tuple(word for word in said if word not in _STOP or word in _CONTRASTED) or said
    return Query(
        said, content, tuple(sorted(word for word in said if any(char.isdigit() for char in word))), _names(raw),
        operators | ({"OR"} if "OR" in raw and len(raw) > 1 and not bare.isupper() else set()),
        frozenset(" ".join(_folded(word) for word in _WORD.findall(found)) for found in _QUOTED.findall(bare)),
        frozenset(said) & _CONTRASTED,
    )  # fmt: skip


def _names(raw: list[str]) -> frozenset[str]:
    """Capitalised words; none where every word is one, and not a first word that only begins a sentence."""
    capital = [word[:1].isupper() and _folded(word) not in _STOP for word in raw]
    lower = any(word[:1].islower() and word not in _STOP for word in raw)
    if not lower:
        return frozenset()
    if capital and capital[0] and any(capital[1:]) and len(raw) > 1 and not capital[1]:
        capital[0] = False
    return frozenset(_folded(word) for word, is_name in zip(raw, capital, strict=True) if is_name and word != "OR")


def same_query(one: str, other: str, on: Set[str], least: float) -> tuple[str, ...] | str:
    """The switches that make two queries one, or the reason why they differ. Symmetric.

    Args:
        one: A query.
        other: Another one.
        on: Names of the switches that are on: `query_words`, `word_forms`.
        least: Least overlap of what two queries look for; 1 for the same words.

    Returns:
        Names, or one of `query_mismatch`, `operators_mismatch`, `numbers_mismatch`, `names_mismatch`,
        `opposite_mismatch`, `empty_query`, `too_long`.
    """
    if one.strip() == other.strip():
        return () if one.strip() else "empty_query"
    if max(len(one), len(other)) > LONGEST:
        return "too_long"
    if "query_words" not in on:
        return "query_mismatch"
    mine, theirs = read_query(one), read_query(other)
    if not mine.said or not theirs.said:
        return "empty_query"
    if mine.operators != theirs.operators:
        return "operators_mismatch"
    if mine.said == theirs.said or Counter(mine.content) == Counter(theirs.content):
        return ("query_words",)
    if set(mine.numbers) != set(theirs.numbers):
        return "numbers_mismatch"
    if _opposed(mine.contrasts, theirs.contrasts):
        return "opposite_mismatch"
    if not mine.names <= _known(theirs) or not theirs.names <= _known(mine):
        return "names_mismatch"
    if not mine.quoted.isdisjoint(theirs.quoted) or not mine.quoted or not theirs.quoted:
        return _overlapping(mine, theirs, on, least)
    return "query_mismatch"


def _known(query: Query) -> frozenset[str]:
    return frozenset(query.said)


def _overlapping(mine: Query, theirs: Query, on: Set[str], least: float) -> tuple[str, ...] | str:
    plain = overlap(Counter(set(mine.content)), Counter(set(theirs.content)))
    if plain >= least:
        return ("query_words",) if plain == 1.0 else ("query_overlap", "query_words")
    if "word_forms" in on:
        stems = [Counter({stem(word) for word in query.content}) for query in (mine, theirs)]
        stemmed = overlap(stems[0], stems[1])
        if stemmed >= least:
            more = () if stemmed == 1.0 else ("query_overlap",)
            return (*more, "query_words", "word_forms")
    return "query_mismatch"


def _opposed(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    """Whether one text has a word where the other has its opposite, or only one says `not`."""
    extra, missing = mine - theirs, theirs - mine
    return any(
        (extra & group and missing & group) or (len(group) == 1 and (extra | missing) & group) for group in _OPPOSITES
    )


def same_phrase(one: str, other: str, on: Set[str]) -> tuple[str, ...] | None:
    """The switches that make two texts one to a search within a page: the same words in the same order."""
    if one.strip() == other.strip():
        return () if one.strip() else None
    if "query_words" not in on or max(len(one), len(other)) > LONGEST:
        return None
    mine, theirs = read_query(one), read_query(other)
    same = bool(mine.said) and mine.said == theirs.said and mine.operators == theirs.operators
    return ("query_words",) if same else None


def same_answer(one: str, other: str, on: Set[str], least: float) -> tuple[str, ...] | None:
    """The switches that make two answers one; None where they differ. Symmetric.

    Args:
        one: An answer.
        other: Another one.
        on: Names of the switches that are on: `answer_form`, `answer_qualifier`, `answer_prose`.
        least: Least overlap of long answers with the same facts.
    """
    if one.strip() == other.strip():
        return () if one.strip() else None
    if max(len(one), len(other)) > LONGEST or "answer_form" not in on:
        return None
    mine, theirs = _LEAD.sub("", one.strip()), _LEAD.sub("", other.strip())
    forms = _answer_form(mine), _answer_form(theirs)
    if forms[0] and forms[0] == forms[1]:
        return ("answer_form",)
    days = normal_date(mine), normal_date(theirs)
    if days[0] is not None and days[0] == days[1]:
        return ("answer_form",)
    if "answer_qualifier" in on and _qualified(mine, theirs):
        return ("answer_form", "answer_qualifier")
    if "answer_prose" in on and _same_prose(mine, theirs, least):
        return ("answer_prose",)
    return None


def _answer_form(text: str) -> tuple[str, ...]:
    query = read_query(text)
    return tuple(word for word in query.said if word not in _ARTICLES)


def _qualified(one: str, other: str) -> bool:
    """`Oslo` and `Oslo, Norway`; not where a number is what the longer one adds."""
    mine, theirs = read_query(one), read_query(other)
    if mine.numbers != theirs.numbers:
        return False
    for short, long in ((one, other), (other, one)):
        head = re.split(r"[,(;]", long, maxsplit=1)[0]
        if head != long and _answer_form(head) and _answer_form(head) == _answer_form(short):
            return True
    return False


_FEWEST_PROSE_WORDS = 8


def _same_prose(one: str, other: str, least: float) -> bool:
    """Long answers with the same facts, names, quotes, and mostly the same words."""
    mine, theirs = read_query(one), read_query(other)
    if min(len(mine.said), len(theirs.said)) < _FEWEST_PROSE_WORDS:
        return False
    if (
        set(mine.numbers) != set(theirs.numbers)
        or mine.quoted != theirs.quoted
        or _opposed(mine.contrasts, theirs.contrasts)
    ):
        return False
    if not mine.names <= _known(theirs) or not theirs.names <= _known(mine):
        return False
    if facts(one).all() != facts(other).all():
        return False
    both = [Counter({stem(word) for word in query.content}) for query in (mine, theirs)]
    return overlap(both[0], both[1]) >= least
