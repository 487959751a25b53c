"""A parse tree read as commands: chains of pipelines of commands, with redirections where the shell applies them.

The grammar hangs a redirection onto a whole list or pipeline, and whatever follows the start of a here-document onto
the redirection; here each belongs to the command that it acts on. What has no place here is `Opaque`: it is compared
as it is written.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from pivot.verify.shell_tree import Tree
from pivot.verify.shell_words import TEXT, Atom, Opaque, Word, joined, read_word

_GAP = re.compile(r"(?:[ \t]+|(?<=[ \t])\\\n(?=[ \t])|(?<=[ \t])\\\n|\\\n(?=[ \t]))+")
_BLOCKS = ("subshell", "compound_statement", "if_statement", "while_statement", "for_statement")
_CLAUSES = ("elif_clause", "else_clause", "do_group")
_CHAINS = (
    "command", "list", "pipeline", "redirected_statement", "negated_command", "variable_assignment",
    "variable_assignments", "declaration_command", "unset_command", "test_command", *_BLOCKS,
)  # fmt: skip
_WORDS = (
    "variable_name", "word", "number", "string", "raw_string", "concatenation", "simple_expansion", "expansion",
    "command_substitution", "brace_expression",
)  # fmt: skip
_TEST_OPERATORS = frozenset(("!", "=", "==", "!="))
_EXPANDED_BODY = re.compile(r"[$`\\]")


@dataclass(frozen=True, slots=True)
class Document:
    """A here-document: whether the shell expands it, its text, its operator and how its end was marked."""

    expanded: bool
    body: str
    operator: str
    mark: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """One redirection: the descriptor it changes, its operator, and where it leads."""

    descriptor: str
    operator: str
    target: Word | Document | None


@dataclass(slots=True)
class Simple:
    """A simple command; a name of None where there are only assignments."""

    name: Word | None
    args: list[Word] = field(default_factory=list)
    assignments: list[tuple[str, Word]] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(slots=True)
class Block:
    """A compound command: keywords, words and sequences in order; one text where it is opaque."""

    kind: str
    parts: list["str | Word | Items"]
    redirects: list[Redirect] = field(default_factory=list)


@dataclass(slots=True)
class Pipeline:
    """Commands joined by `|` or `|&`."""

    stages: list[Simple | Block]
    operators: list[str] = field(default_factory=list)
    negated: bool = False


@dataclass(slots=True)
class Chain:
    """Pipelines joined by `&&` and `||`."""

    pipelines: list[Pipeline]
    operators: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Item:
    """A chain in a sequence, where it lies in the source, and whether it runs in the background."""

    chain: Chain
    start: int
    end: int
    background: bool = False


Items = list[Item]


def read_sequence(kids: Sequence[Tree]) -> Items:
    """The chains among a node's children; raises `Opaque`."""
    items: Items = []
    separated = True
    for kid in kids:
        if kid.kind in (";", "&"):
            if separated and kid.kind == "&":
                raise Opaque
            items[-1].background |= kid.kind == "&"
            separated = True
        elif kid.kind == "comment":
            continue
        elif kid.kind in _CHAINS:
            items.append(Item(_chain(kid), kid.start, kid.end))
            separated = False
        else:
            items.append(Item(_single(Block("opaque", [kid.text])), kid.start, kid.end))
            separated = False
    return items


def _single(stage: Simple | Block) -> Chain:
    return Chain([Pipeline([stage])])


def _chain(tree: Tree) -> Chain:
    try:
        return _read_chain(tree)
    except Opaque:
        return _single(Block("opaque", [tree.text]))


def _read_chain(tree: Tree) -> Chain:
    if tree.kind == "list":
        if len(tree.kids) != 3 or tree.kids[1].kind not in ("&&", "||"):
            raise Opaque
        left, right = _read_chain(tree.kids[0]), _read_chain(tree.kids[2])
        return Chain([*left.pipelines, *right.pipelines], [*left.operators, tree.kids[1].kind, *right.operators])
    if tree.kind == "pipeline":
        return Chain([_pipeline(tree.kids)])
    if tree.kind == "negated_command":
        if len(tree.kids) != 2:
            raise Opaque
        chain = _read_chain(tree.kids[1])
        chain.pipelines[0].negated = not chain.pipelines[0].negated
        return chain
    if tree.kind == "redirected_statement":
        return _redirected(tree)
    return _single(_block(tree) if tree.kind in _BLOCKS else _simple(tree))


def _pipeline(kids: Sequence[Tree]) -> Pipeline:
    whole = Pipeline([])
    for at, kid in enumerate(kids):
        if at % 2:
            if kid.kind not in ("|", "|&"):
                raise Opaque
            whole.operators.append(kid.kind)
            continue
        chain = _read_chain(kid)
        if len(chain.pipelines) != 1 or len(chain.pipelines[0].stages) != 1 or (chain.pipelines[0].negated and at):
            raise Opaque
        whole.negated |= chain.pipelines[0].negated
        whole.stages += chain.pipelines[0].stages
    if len(whole.stages) != len(whole.operators) + 1:
        raise Opaque
    return whole


def _redirected(tree: Tree) -> Chain:
    chain = _read_chain(tree.kids[0])
    for kid in tree.kids[1:]:
        last = chain.pipelines[-1].stages[-1]
        if kid.kind == "file_redirect":
            _add_file(last, kid)
        elif kid.kind == "herestring_redirect" and len(kid.kids) == 2:
            last.redirects.append(Redirect("0", "<<<", read_word(kid.kids[1])))
        elif kid.kind == "heredoc_redirect":
            _add_document(chain, last, kid)
        else:
            raise Opaque
    return chain


def _add_file(stage: Simple | Block, tree: Tree) -> None:
    """A redirection to a file; words behind its target are further arguments."""
    kids = list(tree.kids)
    descriptor = kids.pop(0).text if kids and kids[0].kind == "file_descriptor" else ""
    if not kids:
        raise Opaque
    operator = kids.pop(0).kind
    target = read_word(kids.pop(0)) if kids else None
    stage.redirects.append(Redirect(descriptor or ("0" if operator.startswith("<") else "1"), operator, target))
    if kids:
        if isinstance(stage, Block) or stage.name is None:
            raise Opaque
        stage.args += [read_word(kid) for kid in kids]


def _add_document(chain: Chain, stage: Simple | Block, tree: Tree) -> None:
    """A here-document, and what stands behind its start on the same line."""
    kids = list(tree.kids)
    if len(kids) < 4 or kids[0].kind not in ("<<", "<<-") or kids[1].kind != "heredoc_start":
        raise Opaque
    if kids[-1].kind != "heredoc_end" or kids[-2].kind != "heredoc_body":
        raise Opaque
    mark = kids[1].text
    newline = tree.source.find(b"\n", kids[-3].end)
    body = tree.source[newline + 1 : kids[-1].start].decode("utf-8", "replace")
    quoted = any(char in mark for char in "'\"\\")
    expanded = not quoted and _EXPANDED_BODY.search(body) is not None
    stage.redirects.append(Redirect("0", kids[0].kind, Document(expanded, body, kids[0].kind, mark)))
    behind = kids[2:-2]
    while behind and behind[0].kind == "file_redirect":
        _add_file(stage, behind.pop(0))
    if not behind:
        return
    if len(behind) == 1 and behind[0].kind == "pipeline" and behind[0].kids[0].kind in ("|", "|&"):
        further = _pipeline(behind[0].kids[1:])
        chain.pipelines[-1].stages += further.stages
        chain.pipelines[-1].operators += [behind[0].kids[0].kind, *further.operators]
    elif len(behind) == 2 and behind[0].kind in ("&&", "||"):
        further_chain = _read_chain(behind[1])
        chain.pipelines += further_chain.pipelines
        chain.operators += [behind[0].kind, *further_chain.operators]
    else:
        raise Opaque


def _simple(tree: Tree) -> Simple:
    if tree.kind in ("variable_assignment", "variable_assignments"):
        kids = tree.kids if tree.kind == "variable_assignments" else (tree,)
        return Simple(None, assignments=[_assignment(kid) for kid in kids])
    if tree.kind in ("declaration_command", "unset_command"):
        _check_gaps(tree.kids)
        name = tree.kids[0].text
        return Simple(Word(((TEXT, name),), name), [_declared(kid) for kid in tree.kids[1:]])
    if tree.kind == "test_command" and tree.kids[0].kind == "[":
        words = list(_test_words(tree))
        _check_gaps(words)
        return Simple(Word(((TEXT, "["),), "["), [read_word(word) for word in words[1:]])
    if tree.kind != "command":
        raise Opaque
    return _command(tree)


def _test_words(tree: Tree) -> Iterator[Tree]:
    """The words of `[ … ]`, which is a command like any other, from the grammar's expression."""
    for kid in tree.kids:
        if kid.kind in ("unary_expression", "binary_expression"):
            yield from _test_words(kid)
        elif kid.kind in ("[", "]", "test_operator") or kid.text in _TEST_OPERATORS:
            yield replace(kid, kind="word")
        elif kid.kind in _WORDS:
            yield kid
        else:
            raise Opaque


def _command(tree: Tree) -> Simple:
    _check_gaps(tree.kids)
    command = Simple(None)
    for kid in tree.kids:
        if kid.kind == "command_name":
            if len(kid.kids) != 1:
                raise Opaque
            command.name = read_word(kid.kids[0])
            if command.name.literal is not None and command.name.literal != command.name.raw:
                raise Opaque  # a quoted name is no alias
        elif kid.kind == "variable_assignment" and command.name is None:
            command.assignments.append(_assignment(kid))
        elif kid.kind == "file_redirect":
            _add_file(command, kid)
        elif kid.kind == "herestring_redirect" and len(kid.kids) == 2:
            command.redirects.append(Redirect("0", "<<<", read_word(kid.kids[1])))
        elif command.name is not None and kid.kind != "heredoc_redirect":
            command.args.append(read_word(kid))
        else:
            raise Opaque
    return command


def _check_gaps(kids: Sequence[Tree]) -> None:
    """Words stand apart by blanks: a newline that a backslash takes away joins them."""
    for left, right in pairwise(kids):
        gap = left.between(left, right)
        redirected = "redirect" in left.kind or "redirect" in right.kind
        if not (_GAP.fullmatch(gap) or (redirected and gap == "")):
            raise Opaque


def _assignment(tree: Tree) -> tuple[str, Word]:
    if len(tree.kids) == 2:
        value = Word((), "")
    elif len(tree.kids) == 3 and tree.kids[2].kind != "array":
        value = read_word(tree.kids[2])
    else:
        raise Opaque
    if tree.kids[0].kind != "variable_name" or tree.kids[1].kind not in ("=", "+="):
        raise Opaque
    return tree.kids[0].text + tree.kids[1].kind, value


def _declared(tree: Tree) -> Word:
    if tree.kind != "variable_assignment":
        return read_word(tree)
    start, value = _assignment(tree)
    atoms: tuple[Atom, ...] = ((TEXT, start), *value.atoms)
    return joined(atoms, tree.text)


def _block(tree: Tree) -> Block:
    return Block(tree.kind, list(_parts(tree)))


def _parts(tree: Tree) -> Iterator["str | Word | Items"]:
    """Keywords and words as they stand, and the sequences between them."""
    waiting: list[Tree] = []
    for kid in tree.kids:
        if kid.kind in _CHAINS or kid.kind in (";", "&", "comment"):
            waiting.append(kid)
            continue
        yield from _sequence(waiting)
        waiting = []
        if kid.kind in _CLAUSES:
            yield from _parts(kid)
        elif kid.kind in _WORDS:
            yield read_word(kid)
        elif not kid.kids:
            yield kid.text
        else:
            raise Opaque
    yield from _sequence(waiting)


def _sequence(kids: Sequence[Tree]) -> Iterator[Items]:
    """Statements, without a separator before them that ends what a keyword begins."""
    first = next((at for at, kid in enumerate(kids) if kid.kind in _CHAINS), None)
    if first is None and any(kid.kind == "&" for kid in kids):
        raise Opaque
    if first is not None:
        yield read_sequence(kids[first:])
