"""Options and operands of one command, read by the written table, in a form that ways of writing do not change.

What a switch that is off would have hidden is added to the form, so that a form never equals more than it may.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from pivot.verify.shell_commands import Command
from pivot.verify.shell_words import QUOTED_RAW, QUOTED_VARIABLE, RAW, SPECIAL, TEXT, VARIABLE, Word, text_word

Form = tuple[Any, ...]

_MOST_IN_CLUSTER = 64
_EXPANSIONS = (VARIABLE, QUOTED_VARIABLE, RAW, QUOTED_RAW)


@dataclass(frozen=True, slots=True)
class Given:
    """One option as it was given.

    Attributes:
        name: The table's name of it.
        value: What it takes; None where it takes nothing, or has nothing attached that it may take.
        bound: Whether the value is attached and expanded by the shell, so that an empty one makes a difference.
    """

    name: str
    value: Word | None = None
    bound: bool = False

    def form(self, on: Set[str]) -> Form:
        """What it says, without how."""
        return (self.name,) if self.value is None else (self.name, word_form(self.value, on), self.bound)


@dataclass(slots=True)
class Segment:
    """Options and operands between two words that the shell may turn into anything."""

    options: list[Given] = field(default_factory=list)
    operands: list[Word] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """The arguments of a command.

    Attributes:
        segments: In order; one but for words that may expand to options.
        sequence: All options and operands in the order of the line.
        spelt: How options were written, by the switch that says whether it counts.
        dashes: Where `--` stands, as the number of operands before it; None without.
    """

    segments: list[Segment]
    sequence: list[Given | Word]
    spelt: dict[str, list[str]]
    dashes: int | None = None

    def given(self) -> Iterator[Given]:
        """All options."""
        for segment in self.segments:
            yield from segment.options

    @property
    def operands(self) -> list[Word]:
        """All operands."""
        return [word for segment in self.segments for word in segment.operands]


def word_form(word: Word, on: Set[str]) -> Form:
    """A word under the switches that are on."""
    return word.atoms if "quoting" in on else (word.atoms, word.raw)


class _Unknown(Exception):
    """A word that the table does not explain."""


class _Reader:
    def __init__(self, words: Sequence[Word], command: Command) -> None:
        self._words, self._command, self._at = list(words), command, 0
        self.line = Line([Segment()], [], {"flag_clusters": [], "long_flags": [], "numeric_flags": []})

    def read(self) -> Line:
        ended = False
        while self._at < len(self._words):
            word = self._words[self._at]
            self._at += 1
            if ended or not self._is_option(word):
                ended = ended or self._command.operands_end_options
                self._operand(word, barrier=not ended and _may_be_option(word))
            elif word.literal == "--":
                ended = True
                self.line.dashes = len(self.line.operands)
            elif word.start.startswith("--"):
                self._long(word)
            else:
                self._short(word)
        return self.line

    @staticmethod
    def _is_option(word: Word) -> bool:
        return word.start.startswith("-") and word.literal != "-"

    def _operand(self, word: Word, barrier: bool) -> None:
        self.line.segments[-1].operands.append(word)
        self.line.sequence.append(word)
        if barrier:
            self.line.segments.append(Segment())

    def _option(self, given: Given) -> None:
        if self._command.options_act_behind and self.line.segments[-1].operands:
            self.line.segments.append(Segment())
        self.line.segments[-1].options.append(given)
        self.line.sequence.append(given)

    def _next(self) -> Word:
        if self._at >= len(self._words):
            raise _Unknown
        self._at += 1
        return self._words[self._at - 1]

    def _number_next(self) -> Word | None:
        if self._at < len(self._words) and _is_number(self._words[self._at].literal):
            return self._next()
        return None

    def _long(self, word: Word) -> None:
        name, equals, _ = word.start.partition("=")
        option = self._command.options.get(name)
        if option is None or len(name) < 3 or (equals and not option.takes) or (not equals and word.literal is None):
            raise _Unknown
        value = _attached(word.after(len(name) + 1)) if equals else None
        if value is None and option.takes == ":":
            value = (self._next(), False)
        elif value is None and option.takes == "%" and (number := self._number_next()) is not None:
            value = (number, False)
        self.line.spelt["long_flags"].append(word.start)
        self._option(Given(option.name, *(value or ())))

    def _short(self, word: Word) -> None:
        if self._command.number and _is_number(word.literal, 1):
            self.line.spelt["numeric_flags"].append(word.start)
            self._option(Given(self._command.number, text_word(word.start[1:])))
            return
        at = 1
        while at < len(word.start):
            option = self._command.options.get("-" + word.start[at])
            if option is None or at > _MOST_IN_CLUSTER:
                raise _Unknown
            at += 1
            if not option.takes:
                self._option(Given(option.name))
                continue
            rest = word.after(at)
            value = _attached(rest) if rest.atoms else None
            if value is None and option.takes == ":":
                value = (self._next(), False)
            elif value is None and option.takes == "%" and (number := self._number_next()) is not None:
                value = (number, False)
            self._option(Given(option.name, *(value or ())))
            if at > 2 or rest.atoms:
                self.line.spelt["flag_clusters"].append(word.start)
            return
        if word.literal is None:
            raise _Unknown
        if at > 2:
            self.line.spelt["flag_clusters"].append(word.start)


def _is_number(text: str | None, start: int = 0) -> bool:
    return text is not None and text.isascii() and text[start:].isdecimal()


def _attached(word: Word) -> tuple[Word, bool]:
    return word, any(kind in (VARIABLE, RAW) for kind, _ in word.atoms)


def _may_be_option(word: Word) -> bool:
    """Whether the shell may put a word there that begins with a dash."""
    if not word.atoms:
        return False
    kind, text = word.atoms[0]
    return kind in _EXPANSIONS or (kind == SPECIAL and text != "~")


def read_line(words: Sequence[Word], command: Command) -> Line | None:
    """The arguments of a command; None where the table does not explain a word of it."""
    try:
        return _Reader(words, command).read()
    except _Unknown:
        return None


def unglobbed(word: Word) -> Word:
    """`--include=*.py` without its quotes: no file has a name that begins like that."""
    if word.start.startswith("--") and "=" in word.start and any(kind == SPECIAL for kind, _ in word.atoms):
        joined = "".join(text for kind, text in word.atoms)
        if all(kind in (TEXT, SPECIAL) for kind, _ in word.atoms) and not set("{~!") & set(joined):
            return Word(((TEXT, joined),), word.raw)
    return word


def line_form(line: Line, command: Command, on: Set[str]) -> Form:
    """The normal form of a command's arguments under the switches that are on."""
    extra: list[Any] = [(switch, *sorted(words)) for switch, words in line.spelt.items() if switch not in on]
    if line.dashes is not None:
        if command.dashes_count:
            extra.append(("--", line.dashes))
        elif "dash_dash" not in on:
            extra.append(("--",))
    if "flag_order" not in on:
        extra.append(tuple(item.form(on) if isinstance(item, Given) else word_form(item, on) for item in line.sequence))
    return (*(_segment_form(segment, command, on) for segment in line.segments), tuple(extra))


def _segment_form(segment: Segment, command: Command, on: Set[str]) -> Form:
    by_group: dict[str, list[Form]] = {}
    for given in segment.options:
        by_group.setdefault(command.groups.get(given.name, given.name), []).append(given.form(on))
    groups = tuple((group, *by_group[group]) for group in sorted(by_group))
    return groups, tuple(word_form(word, on) for word in segment.operands)
