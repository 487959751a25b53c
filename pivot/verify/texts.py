"""Text arguments to a normal form, by what kind of text they are.

verbatim   code, commands, patterns: every character counts
sql, shell, python: code whose language the tool or the key names, compared by its tokens or as commands
exact      ids, codes: only composed letters and outer whitespace may differ; case where the schema says so
path, folder, url, email, phone: exact, but for the ways in which the same one is written
choice     one of the schema's enum: in any case, where folding keeps the enum's values apart
date       any unambiguous form
plain      names and phrases: case folded, whitespace collapsed
decimal, colour, duration, address: plain, but for the ways in which the same one is written
formula    arithmetic: terms and factors in any order
prose      sentences for a person to read (`reason`, `summary`, `message`): compared by similarity
query      what is searched for or asked (`query`, `question`): compared by similarity, more strictly
"""

import re
import unicodedata
from collections.abc import Set
from functools import lru_cache

from pivot.verify.code_forms import arithmetic, is_arithmetic, looks_like_sql, python, sql
from pivot.verify.dates import normal_date
from pivot.verify.forms import FORMS
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
    path paths file files filename filepath dir directory folder cwd username login handle sku iata icao ticker symbol
    currency code fax telephone msisdn
    codes number numbers phone zip zipcode postcode postal ip host hostname domain branch commit version ref tool
    function method variable table column field selector xpath locale timezone
    """
)
_PROSE = word_set(
    """
    reason reasons note notes message messages summary summaries thought thoughts comment comments description
    descriptions explanation details detail body text content contents feedback rationale justification remark remarks
    instruction instructions subject context analysis plan issue request answer memo
    """
)
_QUERY = word_set("query queries question questions prompt search topic keywords")
_FORMULA = frozenset({"expression", "formula", "equation"})
# Kinds of which the key tells which they are; the first that fits.
_BY_KEY = (
    ("phone", word_set("phone phones telephone mobile fax msisdn")),
    ("email", word_set("email emails mail")),
    ("url", word_set("url urls uri link")),
    ("folder", word_set("dir directory folder cwd")),
    ("path", word_set("path paths file files filename filepath")),
)
_NO_PATH = word_set("id ids uuid guid hash sha checksum type")
_PLAIN_BY_KEY = (
    ("decimal", word_set("amount amounts price prices total cost costs fee fees balance budget")),
    ("colour", word_set("color colors colour colours")),
    ("duration", word_set("duration durations")),
    ("address", word_set("address street line line1 location destination origin")),
)
_BY_FORMAT = {
    "email": "email", "idn-email": "email", "uri": "url", "url": "url", "iri": "url", "duration": "duration",
}  # fmt: skip
_STATEMENT = word_set("query sql statement code command script")
_PROGRAMME = word_set("code source script snippet python")
_SHELL = word_set("command commands cmd script bash shell")
_SAYS_SQL = re.compile(r"\b(?:postgre|my|ms)?sql(?:ite)?\b", re.IGNORECASE)
_SAYS_SHELL = re.compile(r"\b(?:bash|shell|command line|terminal)\b", re.IGNORECASE)
_SAYS_PYTHON = re.compile(r"\bpython3?\b", re.IGNORECASE)
_SAYS_HEX = re.compile(r"\bhex(?:adecimal)? colou?rs?\b", re.IGNORECASE)
_CODE = {"sql": ("sql_form", sql), "python": ("python_form", python)}
_EXACT_KINDS = frozenset(("exact", "phone", "email", "url", "folder", "path"))
_CODE_LIKE = re.compile(
    r"\s*(?:select|insert|update|delete|create|with|import|def|class|function)\b.*[=*(;]", re.I | re.S
)
_LONGEST_CODE = 4
_FEWEST_PROSE_WORDS = 2
_READ = {"prose": "p", "query": "q"}
SHELL = "c"
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
    """What kind of text a property holds, one of those that this module begins with.

    Args:
        key: The property's name; of a list's items the list's.
        schema: The property's schema.
        beside_path: Whether the same object names a file, so that its `content` is the file's.
    """
    named = _key_words(key)
    read = "query" if not named.isdisjoint(_QUERY) else "prose" if not named.isdisjoint(_PROSE) else None
    if key.lower() in _VERBATIM_KEYS or (not named.isdisjoint(_VERBATIM) and not named & _EXACT - {"code"}):
        short = _is_short_code(schema, named) and named.isdisjoint(("python", "sql"))
        return "exact" if short else _language(named, schema) or "verbatim"
    if not named.isdisjoint(_EXACT) or schema.formats() - {"date", "date-time"}:
        return _exact_kind(named, schema)
    if not named.isdisjoint(_FORMULA):
        return "formula"
    if read == "query" and (language := _language(named, schema)):
        return language
    if schema.is_exact() and not schema.enum() and not schema.formats():
        return "verbatim"
    if read is None or schema.enum() or schema.formats() or len(schema.quoted()) > 1:
        return _plain_kind(named, schema)
    return "verbatim" if beside_path else read


def _language(named: frozenset[str], schema: Schema) -> str | None:
    """The language of a code argument, where key, schema or tool name exactly one."""
    said = f"{' '.join(sorted(named))} {schema.says()}"
    spoken = [
        language
        for language, keys, pattern in (
            ("sql", _STATEMENT, _SAYS_SQL),
            ("shell", _SHELL, _SAYS_SHELL),
            ("python", _PROGRAMME, _SAYS_PYTHON),
        )
        if pattern.search(said) and not named.isdisjoint(keys)
    ]
    return spoken[0] if len(spoken) == 1 else None


def _exact_kind(named: frozenset[str], schema: Schema) -> str:
    by_format = next((_BY_FORMAT[name] for name in sorted(schema.formats()) if name in _BY_FORMAT), None)
    kind = by_format or next((kind for kind, words in _BY_KEY if not named.isdisjoint(words)), "exact")
    if kind in ("path", "folder"):
        if not named.isdisjoint(_NO_PATH):
            return "exact"
        return "folder" if schema.is_folder() else kind
    return kind


def _plain_kind(named: frozenset[str], schema: Schema) -> str:
    if _SAYS_HEX.search(schema.description()):
        return "colour"
    return next((kind for kind, words in _PLAIN_BY_KEY if not named.isdisjoint(words)), "plain")


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
    if kind == "query" and looks_like_sql(text):
        kind = "sql"
    if kind == "shell" and "shell_form" in on:
        return SHELL, text
    if kind in _CODE and _CODE[kind][0] in on and (tokens := _CODE[kind][1](text)) is not None:
        return kind, tokens
    if kind in ("verbatim", "shell") or kind in _CODE:
        return "s", text
    if "unicode_form" in on:
        # Ids are looked up as they are written: a full-width letter is another one.
        text = unicodedata.normalize("NFC", text) if kind in _EXACT_KINDS else unicode_form(text)
    if listed := schema.enum():
        return "s", _choice(text, listed) if "enum_case" in on else text
    if "date_form" in on and kind not in _EXACT_KINDS and (day := normal_date(text)) is not None:
        return "d", day
    if kind == "formula":
        if "term_order" in on and (terms := arithmetic(text)) is not None:
            return "f", terms
        return "s", "".join(text.split()) if "whitespace" in on and is_arithmetic(text) else text
    if "whitespace" in on:
        text = text.strip() if kind in _EXACT_KINDS else " ".join(text.split())
    if kind in FORMS and FORMS[kind][0] in on:
        text = FORMS[kind][1](text)
    if kind in _READ and f"{kind}_similarity" in on and _is_prose(text):
        return _READ[kind], text
    if "text_case" in on and (schema.any_case() or (kind not in _EXACT_KINDS and _case_is_free(text))):
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
