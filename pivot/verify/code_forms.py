"""One form for code that does the same: SQL and Python by their tokens, arithmetic by its terms.

Every function gives None where it cannot tell, so that the text is compared as it is written.
"""

import io
import re
import tokenize

_LONGEST = 16_384
_SEPARATOR = "\x1f"

_SQL_TOKEN = re.compile(
    r"(?P<space>\s+|--(?=\s|$)[^\n]*|/\*(?![+!])(?:[^*/]|\*(?!/)|/(?!\*))*\*/)"
    r"|(?P<text>[A-Za-z]?'(?:[^'\\]|'')*'|\"(?:[^\"\\]|\"\")*\"|`[^`\\]*`)"
    r"|(?P<word>[^\W\d]\w*)|(?P<number>\d[\w.]*|\.\d\w*)|(?P<sign>->>?|[<>!=|:&]+|[-+*/%(),;.^?~@\[\]{}])"
)
_SQL_HEAD = re.compile(
    r"\s*(?:/\*|--\s|(?:select\b.+?\bfrom|insert\s+into|replace\s+into|update\b.+?\bset|delete\s+from"
    r"|(?:create|drop|alter)\s+(?:table|view|index|database|schema)|with\b.+?\bas\s*\()(?:\b|$))",
    re.IGNORECASE | re.DOTALL,
)
_HEAD = 2_000


def looks_like_sql(text: str) -> bool:
    """Whether a text begins as a statement does."""
    return _SQL_HEAD.match(text[:_HEAD]) is not None


def sql(text: str) -> str | None:
    """Tokens of a statement: words without case; no comments, line breaks and final semicolon.

    What dialects read in several ways (backslashes, `#`, `--x`, hints, nested comments, dollar quotes) is not read.
    """
    if len(text) > _LONGEST:
        return None
    tokens: list[str] = []
    at, after_text = 0, False
    while at < len(text):
        found = _SQL_TOKEN.match(text, at)
        if found is None or (text.startswith(("--", "/*"), at) and found.lastgroup != "space"):
            return None
        at = found.end()
        if found.lastgroup == "space":
            continue
        is_text = found.lastgroup == "text"
        if is_text and after_text:  # literals side by side: what they mean depends on the line break between them
            return None
        tokens.append(found[0] if is_text else found[0].casefold())
        after_text = is_text
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return _SEPARATOR.join(tokens)


def python(text: str) -> str | None:
    """Tokens of a program: no comments, blank lines and spaces; every indentation is one step."""
    if len(text) > _LONGEST or "\0" in text or "\f" in text:
        return None
    tokens: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.ERRORTOKEN:
                return None
            if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE):
                tokens.append(tokenize.tok_name[token.type])
            elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER):
                tokens.append(token.string)
    except (tokenize.TokenError, SyntaxError):  # brackets that do not close, an indentation that fits none
        return None
    return _SEPARATOR.join(tokens)


_ARITHMETIC = re.compile(r"[\d\s+\-*/().,%^]{1,400}")
_TERM_TOKEN = re.compile(r"\s*(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30}|[-+*/()])")
_DEEPEST = 40


def is_arithmetic(text: str) -> bool:
    """Whether a text holds nothing but numbers, signs and brackets."""
    return _ARITHMETIC.fullmatch(text) is not None


def arithmetic(text: str) -> str | None:
    """A formula of `+ - * /` with sorted terms and factors and no brackets that say nothing.

    Only what the laws of commuting and of associating make equal: `2 * (3 + 4)` is not `2 * 3 + 2 * 4`.
    """
    if not is_arithmetic(text):
        return None
    tokens: list[str] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TERM_TOKEN.match(text, at)
        if found is None:
            return None
        tokens.append(found[1])
        at = found.end()
    reader = _Formula(tokens)
    form = reader.terms(0)
    return None if form is None or not reader.done() else _written(form, "+")


# Terms of a sum with their signs, or factors of a product with `*` or `/`.
Parts = list[tuple[str, str]]


class _Formula:
    """Reads tokens from the left; None where they are no formula."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens, self._at = tokens, 0

    def done(self) -> bool:
        return self._at == len(self._tokens)

    def _take(self, wanted: str) -> str | None:
        if not self.done() and self._tokens[self._at] in wanted:
            self._at += 1
            return self._tokens[self._at - 1]
        return None

    def terms(self, depth: int) -> Parts | None:
        """A sum; a sum in brackets after a plus is part of it."""
        parts: Parts = []
        sign: str | None = self._take("+-") or "+"
        while sign:
            factors = self._factors(depth)
            if factors is None:
                return None
            if isinstance(factors, str):
                parts.append((sign, factors))
            else:
                parts += [(_times(sign, inner), term) for inner, term in factors]
            sign = self._take("+-")
        return parts

    def _factors(self, depth: int) -> str | Parts | None:
        """A product as text, or the terms of a sum that stands alone in brackets."""
        parts: Parts = []
        operator: str | None = "*"
        while operator:
            factor = self._factor(depth)
            if factor is None:
                return None
            more = self._take("*/")
            if not parts and not more:
                return factor
            parts.append((operator, factor if isinstance(factor, str) else f"({_written(factor, '+')})"))
            operator = more
        return _written(parts, "*")

    def _factor(self, depth: int) -> str | Parts | None:
        if self._take("("):
            inner = self.terms(depth + 1) if depth < _DEEPEST else None
            if inner is None or not self._take(")"):
                return None
            alone = len(inner) == 1 and inner[0][0] == "+" and not any(char in "*/" for char in inner[0][1])
            return inner[0][1] if alone else inner
        if self.done() or self._tokens[self._at][0] not in "0123456789.":
            return None
        self._at += 1
        return self._tokens[self._at - 1]


def _times(one: str, other: str) -> str:
    return "+" if one == other else "-"


def _written(parts: Parts, leading: str) -> str:
    return " ".join(f"{sign}{part}" for sign, part in sorted(parts, key=lambda item: (item[0] != leading, item)))
