"""Edits: do two pairs of old and new text change a file in the same way?"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from itertools import zip_longest

from rapidfuzz.distance import Indel

_LONGEST = 20_000
_HASH_COMMENTS = (".py", ".pyi", ".sh", ".yaml", ".yml", ".toml", ".rb", ".cfg")
_TOKEN = re.compile(r"\"[^\"\n]{0,400}\"|'[^'\n]{0,400}'|[^\W\d]\w{0,200}|\d[\w.]{0,40}|[^\w\s]")
_OPERATORS = frozenset("+ - * / % = < > ! & | ^ ~ @ . [ ] { } :".split())
_BOUND = re.compile(r"(?<![\w.])([^\W\d]\w{0,60})[ \t]{0,8}=(?!=)|\bfor[ \t]{1,8}([^\W\d]\w{0,60})\b|\bas[ \t]{1,8}([^\W\d]\w{0,60})\b")
_MOST_TOKENS = 2000

Texts = tuple[str, str]


def same_edit(actual: Texts, expected: Texts, path: str, on: Set[str], alike: float) -> tuple[str, ...] | None:
    """The switches that make two edits one; None where they differ. Symmetric.

    Args:
        actual: Old and new text.
        expected: Old and new text.
        path: The file, whose ending says what a comment is.
        on: Names of the switches that are on, of `Guards`.
        alike: Least similarity of texts under `similar_edit`.
    """
    if actual == expected:
        return ()
    if max(map(len, (*actual, *expected))) > _LONGEST:
        return None
    mine, theirs = [_lines(text) for text in actual], [_lines(text) for text in expected]
    used: list[str] = []
    for switch, change in (
        ("edit_layout", lambda pair: [_layout(lines, path) for lines in pair]),
        ("edit_context", _core),
    ):
        if switch not in on:
            continue
        if switch == "edit_context" and not _same_place(mine[0], theirs[0]):
            continue
        mine, theirs = change(mine), change(theirs)
        used.append(switch)
        if mine == theirs:
            # The change alone may not need the layout.
            raw = [[_lines(text) for text in pair] for pair in (actual, expected)]
            return (switch,) if _equal_by(switch, raw[0], raw[1], path) else tuple(sorted(used))
    one, other = [_tokens(lines) for lines in mine], [_tokens(lines) for lines in theirs]
    if one == other and "edit_layout" in on:
        return tuple(sorted(used))
    if "local_names" in on and _renamed(one, other):
        return tuple(sorted([*used, "local_names"]))
    if "similar_edit" in on and all(_similar(a, b, alike) for a, b in zip(one, other, strict=True)):
        return tuple(sorted([*used, "similar_edit"]))
    return None


def _equal_by(switch: str, mine: list[list[str]], theirs: list[list[str]], path: str) -> bool:
    if switch == "edit_context":
        return _core(mine) == _core(theirs)
    return [_layout(lines, path) for lines in mine] == [_layout(lines, path) for lines in theirs]


def _lines(text: str) -> list[str]:
    return text.split("\n")


def _layout(lines: Sequence[str], path: str) -> list[str]:
    """Without blank lines, blanks at the end of a line, and lines that are only a comment."""
    comment = "#" if path.endswith(_HASH_COMMENTS) else None
    kept = (line.rstrip() for line in lines)
    return [line for line in kept if line and not (comment and _is_comment(line, comment))]


def _is_comment(line: str, comment: str) -> bool:
    bare = line.lstrip()
    return bare.startswith(comment) and not bare.startswith("#!")


def _core(pair: Sequence[Sequence[str]]) -> list[list[str]]:
    """What changes: old and new lines without the ones at both ends that stay."""
    old, new = list(pair[0]), list(pair[1])
    shared = min(len(old), len(new))
    start = next((at for at in range(shared) if old[at] != new[at]), shared)
    shared -= start
    end = next((at for at in range(shared) if old[-1 - at] != new[-1 - at]), shared)
    return [old[start : len(old) - end], new[start : len(new) - end]]


def _same_place(mine: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether the text to replace of one edit lies within that of the other, line for line."""
    short, long = sorted(([line for line in side if line.strip()] for side in (mine, theirs)), key=len)
    width = len(short)
    return width > 0 and any(list(long[at : at + width]) == short for at in range(len(long) - width + 1))


def _tokens(lines: Sequence[str]) -> list[str]:
    """Tokens of code; what a line's indentation is, relative to its text's first line, is one of them."""
    return list(_read_tokens(lines))[:_MOST_TOKENS]


def _read_tokens(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        bare = line.lstrip()
        yield "\n" + line[: len(line) - len(bare)]
        for token in _TOKEN.findall(bare):
            yield '"' + token[1:-1] + '"' if token[0] == "'" and len(token) > 1 and '"' not in token else token


def _renamed(mine: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> bool:
    """Whether the new texts differ only in the names of variables that they bring in."""
    if list(mine[0]) != list(theirs[0]) or len(mine[1]) != len(theirs[1]):
        return False
    free = [_bound(side) for side in (mine, theirs)]
    to: dict[str, str] = {}
    back: dict[str, str] = {}
    for one, other in zip_longest(mine[1], theirs[1], fillvalue=""):
        if one in free[0] and other in free[1]:
            if to.setdefault(one, other) != other or back.setdefault(other, one) != one:
                return False
        elif one != other:
            return False
    return True


def _bound(side: Sequence[Sequence[str]]) -> set[str]:
    new = " ".join(side[1])
    names = {name for groups in _BOUND.findall(new) for name in groups if name}
    # A keyword argument looks like an assignment; a name that is bound at the start of a line is one.
    starts = {
        token for before, token, after in zip(side[1], side[1][1:], side[1][2:], strict=False)
        if before.startswith("\n") and after == "="
    } | {token for before, token in zip(side[1], side[1][1:], strict=False) if before in ("for", "as")}  # fmt: skip
    return (names & starts) - set(side[0])


def _similar(mine: Sequence[str], theirs: Sequence[str], alike: float) -> bool:
    """Alike enough, with the same names, numbers and operators: texts and layout may differ."""
    if list(mine) == list(theirs):
        return True
    return _weighty(mine) == _weighty(theirs) and Indel.normalized_similarity(mine, theirs) >= alike


def _weighty(tokens: Sequence[str]) -> Counter[str]:
    return Counter(token for token in tokens if token in _OPERATORS or token[0].isalnum() or token[0] == "_")
