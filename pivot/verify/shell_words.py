"""Words of a shell command in a form that keeps what the shell acts on and drops how it was quoted.

A word is a sequence of atoms: plain text, characters that the shell expands, and expansions, each marked as quoted
or not where that matters. `'a b'`, `"a b"` and `a\\ b` have the same atoms; `*` and `'*'`, `$x` and `"$x"` do not.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pivot.verify.shell_tree import Tree

# Kinds of atoms. Those in capitals stand inside double quotes, where nothing is split and no file name expanded.
TEXT, SPECIAL, VARIABLE, QUOTED_VARIABLE, RAW, QUOTED_RAW = "t", "g", "v", "V", "r", "R"
Atom = tuple[str, str]

# Unquoted, these may stand for something else: file names, lists, a home, an earlier command.
_SPECIAL = frozenset("*?[{}~!")
_ESCAPED_IN_QUOTES = frozenset('$`"\\\n')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
_EXPANDS = re.compile(r"[$][A-Za-z0-9_@*#?$!({'\"-]|`")
_ANSI = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


class Opaque(Exception):
    """A part of a script that is only compared as it is written."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a command.

    Attributes:
        atoms: What it is made of, neighbouring plain text joined.
        raw: How it was written.
    """

    atoms: tuple[Atom, ...]
    raw: str

    @property
    def literal(self) -> str | None:
        """The text that a command gets, where the shell has nothing to expand."""
        if not self.atoms:
            return ""
        return self.atoms[0][1] if len(self.atoms) == 1 and self.atoms[0][0] == TEXT else None

    @property
    def start(self) -> str:
        """The plain text that it begins with."""
        return self.atoms[0][1] if self.atoms and self.atoms[0][0] == TEXT else ""

    def after(self, count: int) -> "Word":
        """The word without that many characters of its plain start."""
        rest = self.start[count:]
        raw = self.raw[count:] if self.raw.startswith(self.start[:count]) else self.raw
        return Word((((TEXT, rest),) if rest else ()) + self.atoms[1:], raw)


def text_word(text: str) -> Word:
    """A word of plain text."""
    return Word(((TEXT, text),) if text else (), text)


def read_word(tree: Tree) -> Word:
    """The word that a node of a command is; raises `Opaque`."""
    return joined(_atoms(tree), tree.text)


def joined(found: Iterable[Atom], raw: str) -> Word:
    """A word of atoms, neighbouring plain text joined."""
    atoms: list[Atom] = []
    for kind, text in found:
        if kind == TEXT and atoms and atoms[-1][0] == TEXT:
            atoms[-1] = (TEXT, atoms[-1][1] + text)
        elif text or kind != TEXT:
            atoms.append((kind, text))
    return Word(tuple(atoms), raw)


def _atoms(tree: Tree) -> Iterator[Atom]:
    kind = tree.kind
    if kind in ("word", "number", "$", "variable_name", "special_variable_name") and not tree.kids:
        yield from _unquoted(tree.text)
    elif kind == "raw_string":
        yield TEXT, tree.text[1:-1]
    elif kind == "string":
        yield from _double_quoted(tree)
    elif kind == "ansi_c_string":
        yield from _ansi(tree.text)
    elif kind == "concatenation":
        yield from _concatenated(tree)
    elif kind in ("simple_expansion", "expansion"):
        yield _variable(tree, VARIABLE, RAW)
    else:
        yield RAW, tree.text


def _concatenated(tree: Tree) -> Iterator[Atom]:
    at = tree.start
    for kid in tree.kids:
        if kid.start != at:  # for example a newline that a backslash takes away
            raise Opaque
        at = kid.end
    text = tree.text
    if all(kid.kind in ("word", "number") for kid in tree.kids):
        yield from _unquoted(text)  # the grammar splits words at braces
        return
    if any(kid.text in ('""', "''", '$""', "$''") for kid in tree.kids):
        yield RAW, text  # nothing, but a word also where the rest expands to nothing
        return
    for kid in tree.kids:
        yield from _atoms(kid)


def _unquoted(text: str) -> Iterator[Atom]:
    if _EXPANDS.search(re.sub(r"\\.", "", text, flags=re.S)):
        yield RAW, text
        return
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            if text[at + 1] != "\n":
                yield TEXT, text[at + 1]
            at += 2
        elif text.startswith("{}", at):
            yield TEXT, "{}"
            at += 2
        else:
            yield SPECIAL if char in _SPECIAL else TEXT, char
            at += 1


def _double_quoted(tree: Tree) -> Iterator[Atom]:
    """Text between expansions is taken from the source: the grammar leaves blanks and newlines out."""
    at = tree.start + 1
    for kid in tree.kids:
        if kid.kind in ('"', "string_content", "$"):
            continue
        yield from _inside_quotes(tree.source[at : kid.start].decode("utf-8", "replace"))
        if kid.kind in ("simple_expansion", "expansion"):
            yield _variable(kid, QUOTED_VARIABLE, QUOTED_RAW)
        else:
            yield QUOTED_RAW, kid.text
        at = kid.end
    yield from _inside_quotes(tree.source[at : tree.end - 1].decode("utf-8", "replace"))


def _inside_quotes(text: str) -> Iterator[Atom]:
    if _EXPANDS.search(re.sub(r"\\.", "", text, flags=re.S)):
        yield QUOTED_RAW, text
        return
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\" and text[at + 1 : at + 2] in _ESCAPED_IN_QUOTES and at + 1 < len(text):
            if text[at + 1] != "\n":
                yield TEXT, text[at + 1]
            at += 2
        elif char == "!" and text[at + 1 : at + 2] not in ("", " ", "=", "(", "\n"):
            yield SPECIAL, char  # an interactive shell looks for an earlier command
            at += 1
        else:
            yield TEXT, char
            at += 1


def _ansi(text: str) -> Iterator[Atom]:
    inside = text[2:-1]
    plain = re.sub(r"\\(.)", lambda match: _ANSI.get(match[1], "\0"), inside, flags=re.S)
    yield (RAW, text) if "\0" in plain else (TEXT, plain)


def _variable(tree: Tree, plain: str, other: str) -> Atom:
    """`$x` and `${x}` are one; anything longer is compared as it is written."""
    text = tree.text
    name = text[2:-1] if text.startswith("${") else text[1:]
    return (plain, name) if _NAME.fullmatch(name) else (other, text)
