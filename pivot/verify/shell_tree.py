"""Shell text to a small, bounded parse tree; nothing is ever executed.

The grammar is tree-sitter's. Its parser recovers from any error, at a cost that grows with the square of some inputs,
so what it is given and how long it may take are bounded by counts, and a text with an error has no tree.
"""

import re
from dataclasses import dataclass

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from pivot.trajectory.strict_json import is_unicode

_LANGUAGE = Language(tree_sitter_bash.language())
_LONGEST = 32_768  # characters
_MOST_STEPS = 200  # calls of the parser's progress callback, one in about a hundred operations
# The scanner looks far ahead for some tokens: it is given the text in pieces, and so many of them.
_PIECE, _MOST_PIECES = 1_024, 400
_MOST_NODES = 3_000
_DEEPEST = 48
# The parser's costly recoveries: lists of pipelines without an end, and documents without one.
_MOST_PIPES, _MOST_DOCUMENTS = 200, 16
# A shell cannot hold NUL, and a terminal acts on other control characters when they are typed.
_MARK = "\ufeff"  # the parser leaves a byte order mark out, a shell takes it for a part of the name
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Tree:
    """One node with what is below it.

    Attributes:
        kind: The grammar's name of it; of an unnamed one its text.
        start: Its first byte in `source`.
        end: The byte after its last.
        kids: Its children.
        source: The whole text.
    """

    kind: str
    start: int
    end: int
    kids: tuple["Tree", ...]
    source: bytes

    @property
    def text(self) -> str:
        """What it is in the source."""
        return self.source[self.start : self.end].decode("utf-8", "replace")

    def between(self, left: "Tree", right: "Tree") -> str:
        """The source between two children."""
        return self.source[left.end : right.start].decode("utf-8", "replace")


def parse(text: str) -> Tree | None:
    """The tree of a script; None where it has a syntax error, or is beyond what is read."""
    if len(text) > _LONGEST or _CONTROL.search(text) or not is_unicode(text) or text.startswith(_MARK):
        return None
    if text.count("|") > _MOST_PIPES or text.count("<<") > _MOST_DOCUMENTS:
        return None
    source = text.encode()
    steps = pieces = 0

    def piece(offset: int, point: object) -> bytes:
        nonlocal pieces
        pieces += 1
        return source[offset : offset + _PIECE] if pieces <= _MOST_PIECES else b""

    def enough(offset: int, has_error: bool) -> bool:
        nonlocal steps
        steps += 1
        return has_error or steps >= _MOST_STEPS or pieces > _MOST_PIECES

    try:
        parsed = Parser(_LANGUAGE).parse(piece, progress_callback=enough)
    except ValueError:  # stopped
        return None
    root = parsed.root_node
    if pieces > _MOST_PIECES or root.has_error or root.descendant_count > _MOST_NODES:
        return None
    return _copy(root, source)


def _copy(root: Node, source: bytes) -> Tree | None:
    """The same nodes as plain values, children first, without recursion; None where they are nested too deep."""
    opened: list[tuple[Node, list[Node], list[Tree]]] = [(root, root.children[::-1], [])]
    while True:
        node, waiting, kids = opened[-1]
        if waiting:
            child = waiting.pop()
            opened.append((child, child.children[::-1], []))
            if len(opened) > _DEEPEST:
                return None
            continue
        opened.pop()
        done = Tree(node.type, node.start_byte, node.end_byte, tuple(kids), source)
        if not opened:
            return done
        opened[-1][2].append(done)
