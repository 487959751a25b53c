"""What steps of a coding agent do, so that different tools for the same can be compared: our default preset.

`sed -n 1,40p f`, an editor's `view` and `read_file` show the same; `cat > f <<EOF` and `create` are left apart. Edits
are compared by the tokens that they change, so that more context around a change does not hide it, nor a small change
in much context.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rapidfuzz.distance import Indel, Opcodes

from pivot.verify.shell_options import read_line
from pivot.verify.shell_rewrites import table_of
from pivot.verify.shell_script import Block, Pipeline, Simple, read_sequence
from pivot.verify.shell_tree import parse
from pivot.verify.swe_gym import components
from pivot.verify.swe_tools import BASH, CREATE, EDIT, READ, REPLACE, SEARCH, VIEW, Lines, Step, is_patch, span
from pivot.verify.words import word_set

_TOKEN = re.compile(r"\n[ \t]*(?=\S)|\w+|[<>=!]=|[^\w\s]")
_MOST_TOKENS = 4_000
_RANGE = re.compile(r"([1-9][0-9]{0,8})(?:,([1-9][0-9]{0,8}|\$))?p")
# Lines of a patch that are neither text of a file nor a change of it.
_HEADERS = ("***", "---", "+++", "@@", "diff --git ", "index ", "\\ No newline")
_SHALLOW = 2  # components of an absolute path that a bare file name may stand for
# Options that change neither which lines are found nor what is shown of them.
_PLAIN = {"grep": frozenset("nrRHIEFG"), "rg": frozenset("nHF")}
# Kinds of a search in contents: patterns that mean the same in every dialect, and those that do not.
CONTENT = frozenset(("content", "content:fixed", "content:basic", "content:extended"))
# What means something else in a basic pattern than in an extended one, and what does in either than in a fixed text.
_EXTENDED, _SPECIAL = frozenset("+?{}()|\\"), frozenset("+?{}()|\\.[]*^$")
# Signs and words of code of which one can turn a change into another: next to numbers.
_DECISIVE = word_set("< > <= >= == != + - * / % not and or is in True False None true false null break continue raise")
_NEGATIONS = word_set("not ! !=")


def effect(step: Step, *, commands: bool = True) -> Step:
    """The step in the words of what it does: viewing is reading, and so are `commands` that only show a file."""
    if step.category == EDIT and step.kind == VIEW:
        return replace(step, category=READ, kind="", old="", new="")
    if step.category == READ:
        return replace(step, kind="" if step.path or step.lines else step.name)
    if step.category == SEARCH and step.kind == "content":
        return replace(step, kind=_kind_of_search(step.query, "extended"))
    if commands and step.category == BASH and (shown := _shown(step.command)) is not None:
        return shown
    return step


def _shown(command: str) -> Step | None:
    """The reading or searching step that a command is."""
    tree = parse(command)
    items = read_sequence(tree.kids) if tree is not None else []
    if len(items) != 1 or items[0].background:
        return None
    pipelines = list(items[0].chain.pipelines)
    folder = ""
    if (
        len(pipelines) == 2
        and items[0].chain.operators == ["&&"]
        and (words := _words(pipelines[0]))
        and words[0] == "cd"
    ):
        if len(words) != 2 or words[1].startswith("-"):
            return None
        folder = words[1]
        pipelines.pop(0)
    if len(pipelines) != 1 or pipelines[0].negated:
        return None
    step = _read_file(pipelines[0]) or _search_files(pipelines[0])
    if step is None or not folder or step.path.startswith("/"):
        return step
    return replace(step, path=f"{folder}/{step.path}")


def _words(pipeline: Pipeline) -> list[str] | None:
    """The plain words of the only command of a pipeline."""
    return _plain(pipeline.stages[0]) if len(pipeline.stages) == 1 else None


def _plain(stage: Simple | Block) -> list[str] | None:
    if isinstance(stage, Block) or stage.name is None or stage.redirects or stage.assignments:
        return None
    words = [stage.name.literal, *(word.literal for word in stage.args)]
    return None if any(word is None for word in words) else [word or "" for word in words]


def _read_file(pipeline: Pipeline) -> Step | None:
    """`cat f`, `head -n 40 f`, `sed -n 5,40p f`, and `cat -n f` or `nl -ba f` before one of the others."""
    if any(operator != "|" for operator in pipeline.operators) or len(pipeline.stages) > 2:
        return None
    words = [_plain(stage) for stage in pipeline.stages]
    if words[0] is None or words[-1] is None:
        return None
    if len(words) == 2:
        if words[0][:2] not in (["cat", "-n"], ["nl", "-ba"], ["cat", words[0][-1]]) or len(words[0]) > 3:
            return None
        found = _lines_shown([*words[-1], words[0][-1]])
    else:
        found = _lines_shown(words[0])
    return None if found is None else Step(name=BASH, category=READ, path=found[0], lines=found[1])


def _lines_shown(words: Sequence[str]) -> tuple[str, Lines | None] | None:
    name, *rest = words
    if not rest or rest[-1].startswith("-") or not rest[-1]:
        return None
    if (name, *rest[:-1]) in (("cat",), ("cat", "-n"), ("nl", "-ba")):
        return rest[-1], None
    if name == "sed" and len(rest) == 3 and rest[0] == "-n" and (found := _RANGE.fullmatch(rest[1])) is not None:
        last = found[2] or found[1]
        return rest[-1], span(int(found[1]), -1 if last == "$" else int(last))
    if name == "head" and len(rest) in (2, 3):
        number = rest[0].removeprefix("-n").removeprefix("-") if len(rest) == 2 else rest[1] if rest[0] == "-n" else ""
        if number.isascii() and number.isdecimal() and len(number) < 10:
            return rest[-1], span(1, int(number))
    return None


def _search_files(pipeline: Pipeline) -> Step | None:
    """`grep -rn pattern folder`, with options that show the same lines."""
    stage = pipeline.stages[0]
    if _words(pipeline) is None or isinstance(stage, Block):
        return None
    name, table, taken = table_of(stage)
    line = read_line(stage.args[taken:], table) if table is not None and name in ("grep", "rg") else None
    if line is None or len(line.operands) not in (1, 2):
        return None
    given = {option.name for option in line.given()}
    if given - _PLAIN[name] or (name == "grep" and not given & {"r", "R"}):
        return None
    query, *folder = [word.literal or "" for word in line.operands]
    path = "".join(folder)
    dialect = "fixed" if "F" in given else "basic" if name == "grep" and "E" not in given else "extended"
    kind = _kind_of_search(query, dialect)
    return Step(name=BASH, category=SEARCH, kind=kind, query=query, path="" if path in (".", "./") else path)


def _kind_of_search(query: str, dialect: str) -> str:
    """`content`, with the dialect of a pattern that would not mean the same in every one."""
    if _EXTENDED.isdisjoint(query):
        return "content" if dialect != "fixed" or _SPECIAL.isdisjoint(query) else "content:fixed"
    # A basic pattern whose only signs are those of an extended one is a fixed text.
    fixed = dialect == "fixed" or (dialect == "basic" and (_SPECIAL - _EXTENDED | {"\\"}).isdisjoint(query))
    return "content:fixed" if fixed else f"content:{dialect}"


def same_path(one: str, other: str) -> bool:
    """Whether two paths may name the same file: one is the end of the other, which is longer by a root.

    A bare name stands only for a file near the root: there are many `utils.py` further down.
    """
    left, right = components(one), components(other)
    if left == right:
        return one.startswith("/") == other.startswith("/") or len(left) > 1
    short, long, is_relative = (left, right, one) if len(left) < len(right) else (right, left, other)
    if not short or is_relative.startswith("/") or long[-len(short) :] != short:
        return False
    return len(short) > 1 or len(long) <= _SHALLOW


def tokens(text: str) -> list[str]:
    """Words, signs and indentations of a text, no more than are compared."""
    found = []
    for match in _TOKEN.finditer("\n" + text):
        found.append(match[0])
        if len(found) > _MOST_TOKENS:
            break
    return found


def change_likeness(actual: Step, expected: Step) -> float:
    """How alike two edits are: of the tokens that they take away and add, or of a new file's, in [0, 1]. Symmetric."""
    sides = [tuple(map(tokens, _texts(step))) for step in (actual, expected)]
    if max(len(texts) for side in sides for texts in side) > _MOST_TOKENS:
        return float(actual.old == expected.old and actual.new == expected.new)
    (mine_old, mine_new), (their_old, their_new) = sides
    if mine_new != their_new and _unindented(mine_new) == _unindented(their_new):
        return 0.0  # the indentation is the difference
    if expected.kind == CREATE or not (mine_old or their_old):
        if _decided_by(Counter(mine_new), Counter(their_new)):
            return 0.0
        return float(Indel.normalized_similarity(mine_new, their_new)) if mine_new or their_new else 1.0
    if not _same_place(mine_old, their_old):
        return 0.0
    (mine_out, mine_in), (their_out, their_in) = _changed(mine_old, mine_new), _changed(their_old, their_new)
    if _decided_by(mine_in, their_in):
        return 0.0
    total = sum(found.total() for found in (mine_out, mine_in, their_out, their_in))
    return 2 * ((mine_out & their_out).total() + (mine_in & their_in).total()) / total if total else 1.0


def _texts(step: Step) -> tuple[str, str]:
    """What an edit replaces and by what; of a patch the lines that it takes away and adds, with those around them."""
    if step.kind != REPLACE or step.old or not is_patch(step.new):
        return step.old, step.new
    old, new = [], []
    for line in step.new.split("\n"):
        if line.startswith(_HEADERS):
            continue
        if line[:1] != "+":
            old.append(line[1:])
        if line[:1] != "-":
            new.append(line[1:])
    return "\n".join(old), "\n".join(new)


def _decided_by(one: Counter[str], other: Counter[str]) -> bool:
    """Whether two texts differ in a number, a sign or a word that makes another change, however much else is equal."""
    mine, theirs = one - other, other - one
    if any(_is_decisive(token) for token in mine) and any(_is_decisive(token) for token in theirs):
        return True
    return sum(one[token] for token in _NEGATIONS) != sum(other[token] for token in _NEGATIONS)


def _is_decisive(token: str) -> bool:
    return token in _DECISIVE or token[:1].isdecimal()


def _unindented(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("\n")]


def _same_place(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two replaced texts may be at the same place: one holds the other, or goes on where it ends.

    Both are parts of one file, so that there is no other way; a first line may be quoted without its indentation.
    """
    short, long = sorted((list(one[1:]), list(other[1:])), key=len)
    if not short:
        return len(one) == len(other)
    if _glued(short) in _glued(long):
        return True
    return 2 * max(_meeting(one, other), _meeting(other, one)) >= len(short)


def _glued(words: Sequence[str]) -> str:
    return "\0".join(("", *words, ""))


def _meeting(first: Sequence[str], second: Sequence[str]) -> int:
    """The most tokens at the end of one text that are the beginning of the other, in linear time."""
    text = [*second, "", *first]
    borders = [0] * len(text)
    for at in range(1, len(text)):
        size = borders[at - 1]
        while size and text[at] != text[size]:
            size = borders[size - 1]
        borders[at] = size + (text[at] == text[size])
    return borders[-1]


def _changed(old: Sequence[str], new: Sequence[str]) -> tuple[Counter[str], Counter[str]]:
    """The tokens that are taken away, and those that are added."""
    gone: Counter[str] = Counter()
    come: Counter[str] = Counter()
    codes: Opcodes = Indel.opcodes(old, new)
    for code in codes:
        if code.tag == "delete":
            gone.update(old[code.src_start : code.src_end])
        elif code.tag == "insert":
            come.update(new[code.dest_start : code.dest_end])
    return gone, come
