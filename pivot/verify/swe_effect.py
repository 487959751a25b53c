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
from pivot.verify.swe_tools import BASH, CREATE, EDIT, READ, SEARCH, VIEW, Lines, Step, span

_TOKEN = re.compile(r"\n[ \t]*(?=\S)|\w+|[^\w\s]")
_MOST_TOKENS = 4_000
_RANGE = re.compile(r"([1-9][0-9]{0,8})(?:,([1-9][0-9]{0,8}|\$))?p")
_SHALLOW = 2  # components of an absolute path that a bare file name may stand for
_PLAIN_GREP = frozenset("nrRHIEF")
_SAME_PLACE = 0.8


def effect(step: Step) -> Step:
    """The step in the words of what it does: viewing is reading, and so are commands that only show a file."""
    if step.category == EDIT and step.kind == VIEW:
        return replace(step, category=READ, kind="", old="", new="")
    if step.category == READ:
        return replace(step, kind="" if step.path or step.lines else step.name)
    if step.category == BASH and (shown := _shown(step.command)) is not None:
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
        folder = words[1] if len(words) == 2 else ""
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
    if given - _PLAIN_GREP or (name == "grep" and not given & {"r", "R"}):
        return None
    query, *folder = [word.literal or "" for word in line.operands]
    path = "".join(folder)
    return Step(name=BASH, category=SEARCH, kind="content", query=query, path="" if path in (".", "./") else path)


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
    sides = [(tokens(step.old), tokens(step.new)) for step in (actual, expected)]
    if max(len(texts) for side in sides for texts in side) > _MOST_TOKENS:
        return float(actual.old == expected.old and actual.new == expected.new)
    (mine_old, mine_new), (their_old, their_new) = sides
    if mine_new != their_new and _unindented(mine_new) == _unindented(their_new):
        return 0.0  # the indentation is the difference
    if expected.kind == CREATE or not (expected.old or actual.old):
        return float(Indel.normalized_similarity(mine_new, their_new)) if mine_new or their_new else 1.0
    if not _overlap(mine_old, their_old):
        return 0.0
    mine, theirs = _changed(mine_old, mine_new), _changed(their_old, their_new)
    total = mine.total() + theirs.total()
    return 2 * (mine & theirs).total() / total if total else 1.0


def _unindented(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.startswith("\n")]


def _overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two replaced texts are at the same place: one holds most of the other."""
    shorter = min(len(one), len(other))
    return (Counter(one) & Counter(other)).total() >= _SAME_PLACE * shorter


def _changed(old: Sequence[str], new: Sequence[str]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    codes: Opcodes = Indel.opcodes(old, new)
    for code in codes:
        found.update(("-", token) for token in old[code.src_start : code.src_end] if code.tag == "delete")
        found.update(("+", token) for token in new[code.dest_start : code.dest_end] if code.tag == "insert")
    return found
