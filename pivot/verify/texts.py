"""Text arguments to a normal form, by what kind of text they are.

verbatim   code, commands, patterns: every character counts
exact      ids, codes, paths, addresses of mail and web: only their Unicode form and outer whitespace may differ
choice     one of the schema's enum: in any case, where folding keeps the enum's values apart
date       any unambiguous form
plain      names and phrases: case folded, whitespace collapsed
prose      sentences for a person to read (`reason`, `summary`, `message`): compared by similarity
query      what is searched for or asked (`query`, `question`): compared by similarity, more strictly
"""

import re
import unicodedata
from collections.abc import Set
from functools import lru_cache

from pivot.verify.dates import normal_date
from pivot.verify.schema import Schema
from pivot.verify.words import word_set

Form = tuple[str, str]

_KEY_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_LONGEST_KEY = 80
_VERBATIM = word_set(
    "code command commands cmd script patch diff keystrokes sql regex regexp pattern snippet source stdin"
)
_VERBATIM_KEYS = word_set(
    "old_str new_str old_string new_string old_text new_text file_text file_content file_contents"
)
_EXACT = word_set(
    """
    id ids uuid guid key keys token password passcode pin secret hash sha checksum email emails mail url urls uri link
    path paths file files filename dir directory folder username login handle sku iata icao ticker symbol currency code
    codes number numbers phone zip zipcode postcode postal ip host hostname domain branch commit version ref tool
    function method variable table column field selector xpath locale timezone
    """
)
_PROSE = word_set(
    """
    reason reasons note notes message messages summary summaries thought thoughts comment comments description
    descriptions explanation details detail body text content contents feedback rationale justification remark remarks
    instruction instructions subject context analysis plan issue request answer
    """
)
_QUERY = word_set("query queries question questions prompt search topic keywords")
_FORMULA = frozenset({"expression", "formula", "equation"})
_ARITHMETIC = re.compile(r"[\d\s+\-*/().,%^]{1,400}")
_CODE_LIKE = re.compile(
    r"\s*(?:select|insert|update|delete|create|with|import|def|class|function)\b.*[=*(;]", re.I | re.S
)
_LONGEST_CODE = 4
_FEWEST_PROSE_WORDS = 2
_READ = {"prose": "p", "query": "q"}
_TYPOGRAPHY = {
    **{ord(char): "'" for char in "\u2018\u2019\u201a\u201b\u2032"},
    **{ord(char): '"' for char in "\u201c\u201d\u201e\u201f\u2033"},
    **{ord(char): "-" for char in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"},
    **{ord(char): " " for char in "\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000"},
    **{ord(char): None for char in "\u00ad\u200b\u200c\u200d\u2060\ufeff"},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full-width ASCII
    0x2026: "...",
}


def unicode_form(text: str) -> str:
    """Composed letters, plain quotes, dashes and spaces. Not NFKC: that would make ten of 1 and a raised 0."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_TYPOGRAPHY))


@lru_cache(maxsize=4096)
def _key_words(key: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _KEY_WORDS.findall(key[:_LONGEST_KEY]))


def role(key: str, schema: Schema, *, beside_path: bool) -> str:
    """What kind of text a property holds: `verbatim`, `exact`, `formula`, `prose`, `query` or `plain`.

    Args:
        key: The property's name; of a list's items the list's.
        schema: The property's schema.
        beside_path: Whether the same object names a file, so that its `content` is the file's.
    """
    named = _key_words(key)
    read = "query" if not named.isdisjoint(_QUERY) else "prose" if not named.isdisjoint(_PROSE) else None
    if key.lower() in _VERBATIM_KEYS or (not named.isdisjoint(_VERBATIM) and not named & _EXACT - {"code"}):
        return "exact" if _is_short_code(schema, named) else "verbatim"
    if not named.isdisjoint(_EXACT) or schema.formats() - {"date", "date-time"}:
        return "exact"
    if not named.isdisjoint(_FORMULA):
        return "formula"
    if read is None or schema.enum() or schema.formats() or len(schema.quoted()) > 1:
        return "plain"
    return "verbatim" if beside_path else read


def _is_short_code(schema: Schema, named: frozenset[str]) -> bool:
    """`code` is a programme in `run(code)` and a short id in `country_code`."""
    return named & _VERBATIM == {"code"} and (len(named) > 1 or bool(schema.enum()))


def names_a_file(keys: Set[str]) -> bool:
    """Whether one of an object's keys names a file."""
    return any(not _key_words(key).isdisjoint(("path", "file", "filename", "filepath")) for key in keys)


def normal_text(text: str, kind: str, schema: Schema, on: Set[str]) -> Form:
    """The normal form of a text argument: what it is, and the text that has to be the same.

    Args:
        text: The argument.
        kind: Its role.
        schema: Its schema.
        on: Names of the switches that are on.
    """
    if kind == "verbatim":
        return "s", text
    if "unicode_form" in on:
        text = unicode_form(text)
    if listed := schema.enum():
        return "s", _choice(text, listed) if "enum_case" in on else text
    if "date_form" in on and kind != "exact" and (day := normal_date(text)) is not None:
        return "d", day
    if kind == "formula":
        return "s", "".join(text.split()) if "whitespace" in on and _ARITHMETIC.fullmatch(text) else text
    if "whitespace" in on:
        text = text.strip() if kind == "exact" else " ".join(text.split())
    if kind in _READ and f"{kind}_similarity" in on and _is_prose(text):
        return _READ[kind], text
    if "text_case" in on and kind != "exact" and _case_is_free(text):
        return "s", text.casefold()
    return "s", text


def _choice(text: str, listed: tuple[str, ...]) -> str:
    folded = text.strip().casefold()
    near = {value for value in listed if value.casefold() == folded}
    return near.pop() if len(near) == 1 else text


def _case_is_free(text: str) -> bool:
    """Phrases and single words; not `JFK`, `order_id`, `a@b.org` or `x/y`, of which case may be a part."""
    if any(char.isspace() for char in text):
        return True
    return text.isalpha() and not (text.isupper() and len(text) <= _LONGEST_CODE)


def _is_prose(text: str) -> bool:
    return len(text.split(None, _FEWEST_PROSE_WORDS)) >= _FEWEST_PROSE_WORDS and not _CODE_LIKE.match(text[:400])
