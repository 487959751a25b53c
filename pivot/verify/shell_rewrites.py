"""Commands that say the same in other words: a small written table of rewrites, each under the name of its switch.

A rewrite is here only where the output and the effect are the same, not where they are alike: `grep x a b` prints the
names of the files and `cat a b | grep x` does not.
"""

import re
from collections.abc import Callable, Sequence, Set
from dataclasses import replace

from pivot.verify.shell_commands import WITH_SUBCOMMANDS, Command, command
from pivot.verify.shell_options import Line, read_line, word_form
from pivot.verify.shell_script import Block, Redirect, Simple
from pivot.verify.shell_words import Word, text_word
from pivot.verify.words import word_set

# What reads a file, named behind so many operands, or else its standard input, and shows the same for both: with the
# options that stand for the operands before, and those under which the file's name shows.
_READERS: dict[str, tuple[int, str, str]] = {
    "grep": (1, "e f", "r R H l L d include exclude exclude-dir"),
    "sed": (1, "e f", "i s"),
    "awk": (1, "f", ""),
    "jq": (1, "", "n"),
    "cat": (0, "", ""),
    "head": (0, "", "v"),
    "tail": (0, "", "v f F follow retry pid"),
    "sort": (0, "", "m o c C"),
    "uniq": (0, "", ""),
    "cut": (0, "", ""),
    "nl": (0, "", ""),
}
# What makes a script of theirs show the name.
_SHOWN_BY_SCRIPT = {"sed": "F", "awk": ("FILENAME", "ARG")}
# Run in a pipeline they act on a shell of their own.
_ACT_ON_SHELL = word_set(
    """
    read mapfile readarray source . cd pushd popd export unset set eval exec exit return
    """
)
# By the name: the command it stands for, and the options that go with it.
_ALIASES = {
    "egrep": ("grep", "-E"), "fgrep": ("grep", "-F"), "gunzip": ("gzip", "-d"), "zcat": ("gzip", "-d", "-c"),
    "py.test": ("pytest",),
}  # fmt: skip
# What apt and apt-get do alike; `apt upgrade` also installs.
_APT = frozenset(("install", "remove", "purge", "autoremove", "update", "clean"))
_HERE = ("ls", "du", "tree")
# Whose operands show nowhere: a leading `./` makes no difference, but for these options.
_QUIET_OPERANDS = {
    "cat": "", "cut": "", "sort": "", "touch": "", "mkdir": "v", "rmdir": "v", "rm": "v i I interactive", "mv": "v i",
    "cp": "v i s", "chmod": "v c",
}  # fmt: skip
# Operands from which on a directory's final `/` makes no difference, but for these options.
_DIRECTORIES = {"ls": (0, "d R F p"), "grep": (1, "e f"), "mkdir": (0, "v")}
# Whose operands may stand in any order, but for these options.
_UNORDERED = {"rm": "v i I interactive", "touch": "", "git add": "v n i p"}
# Whose first operand may as well be given to an option.
_PATTERN_FIRST = ("grep", "sed")
_RUNS_A_FILE = frozenset(("python", "python3", "node", "bash", "sh"))
_MODE = re.compile(r"0[0-7]{3}")
_ERRORS_TOO = Redirect("2", ">&", text_word("1"))
_LOCAL = re.compile(r"\./[^-/.~]")
_FIRST_LINES = re.compile(r"1,([1-9][0-9]{0,8})p|([1-9][0-9]{0,8})q")

_TESTS_WITH_VALUE = word_set(
    """
    -name -iname -type -path -ipath -wholename -regex -iregex -size -mtime -mmin -atime -amin -ctime -cmin -newer
    -user -group -perm -maxdepth -mindepth -links -inum -lname
    """
)
_TESTS = word_set(
    """
    -empty -readable -writable -executable -xdev -mount -nouser -nogroup
    """
)
_ACTIONS = word_set(
    """
    -print0 -printf -fprint -fprint0 -fprintf -ls -fls -exec -execdir -ok -okdir -delete -quit -prune -print
    """
)


def aliased(simple: Simple, on: Set[str]) -> Simple:
    """`egrep` as `grep -E`, `tar xf` as `tar -xf`, `[ x ]` as `test x`, where the switch is on."""
    name = simple.name.literal if simple.name else None
    if "aliases" not in on or name is None:
        return simple
    if name in _ALIASES:
        known, *options = _ALIASES[name]
        return replace(simple, name=text_word(known), args=[*map(text_word, options), *simple.args])
    if name == "[" and simple.args and simple.args[-1].literal == "]":
        return replace(simple, name=text_word("test"), args=simple.args[:-1])
    if name == "apt" and next((w.literal for w in simple.args if not w.start.startswith("-")), None) in _APT:
        return replace(simple, name=text_word("apt-get"))
    if name == "tar" and simple.args and (letters := simple.args[0].literal) and _is_old_style(letters):
        return replace(simple, args=[text_word("-" + letters), *simple.args[1:]])
    return simple


def _is_old_style(letters: str) -> bool:
    """Letters without a dash of which only the last may take a value: the values come in another order."""
    table = command("tar")
    options = [table.options.get("-" + letter) for letter in letters] if table and letters.isalpha() else [None]
    return all(option is not None for option in options) and not any(o.takes for o in options[:-1] if o)


def _plain_mode(word: Word) -> Word:
    """`0644` as `644`: a fifth digit would say more."""
    return word.after(1) if _MODE.fullmatch(word.literal or "") else word


def apart(redirect: Redirect) -> tuple[Redirect, ...]:
    """`&> f` as `> f 2>&1`."""
    if redirect.operator not in ("&>", "&>>"):
        return (redirect,)
    return replace(redirect, operator=redirect.operator[1:]), _ERRORS_TOO


def with_plain_pipes(
    stages: Sequence[Simple | Block], operators: Sequence[str]
) -> tuple[list[Simple | Block], list[str]]:
    """`a |& b` as `a 2>&1 | b`: the copy is made behind all other redirections."""
    found = list(stages)
    for at, operator in enumerate(operators):
        if operator == "|&":
            found[at] = replace(found[at], redirects=[*found[at].redirects, _ERRORS_TOO])
    return found, ["|"] * len(operators)


def with_quiet_paths(name: str, words: Sequence[Word], on: Set[str]) -> list[Word]:
    """`python ./a.py` as `python a.py`, `cd ./d/` as `cd d`: commands without a table that do not show it."""
    found = list(words)
    if found and "dot_slash" in on and name in (*_RUNS_A_FILE, "cd"):
        found[0] = _without_dot(found[0])
    if len(found) == 1 and "trailing_slash" in on and name == "cd":
        found[0] = _without_slash(found[0])
    return found


def _without_dot(word: Word) -> Word:
    return word.after(2) if _LOCAL.match(word.start) else word


def _without_slash(word: Word) -> Word:
    path = word.literal or ""
    plain = path.rstrip("/")
    return Word(text_word(plain).atoms, word.raw.rstrip("/")) if plain and plain != path else word


def plainer(name: str, line: Line, on: Set[str]) -> Line:
    """The arguments without what says nothing, as far as the switches are on."""
    line = _pattern_as_operand(name, line, on)
    given = {option.name for option in line.given()}
    if "dot_slash" in on:
        if name in _QUIET_OPERANDS and not given & set(_QUIET_OPERANDS[name].split()):
            _change_operands(line, slice(None), _without_dot)
        elif name in _READERS and (file := _file_place(name, line)) == len(line.operands) - 1:
            _change_operands(line, slice(file, None), _without_dot)
    if "aliases" in on and name == "chmod" and "reference" not in given:
        _change_operands(line, slice(1), _plain_mode)
    if "trailing_slash" in on and name in _DIRECTORIES:
        first, shown = _DIRECTORIES[name]
        alone = len(line.operands) == 1 if name == "ls" else name != "grep" or bool(given & {"r", "R"})
        if alone and not given & set(shown.split()):
            _change_operands(line, slice(first, None), _without_slash)
    if "operand_order" in on and name in _UNORDERED and not given & set(_UNORDERED[name].split()):
        _sort_operands(line)
    return _without_here(name, line, on)


def _change_operands(line: Line, which: slice, change: Callable[[Word], Word]) -> None:
    """Change some of the operands."""
    operands = line.operands
    operands[which] = map(change, operands[which])
    _replace_operands(line, operands)


def _sort_operands(line: Line) -> None:
    """Bring plain operands into one order; what the shell expands may hold options."""
    if all(word.literal is not None for word in line.operands):
        _replace_operands(line, sorted(line.operands, key=lambda word: (word.literal or "", word.raw)))


def _replace_operands(line: Line, operands: Sequence[Word]) -> None:
    """Put operands in the place of those that a line has, wherever it holds them."""
    coming = iter(operands)
    for segment in line.segments:
        segment.operands = [next(coming) for _ in segment.operands]
    coming = iter(operands)
    line.sequence = [next(coming) if isinstance(item, Word) else item for item in line.sequence]


def _pattern_as_operand(name: str, line: Line, on: Set[str]) -> Line:
    """`grep -e x f` as `grep x f`, where it is the only one."""
    if "pattern_option" not in on or name not in _PATTERN_FIRST or len(line.segments) > 1 or line.dashes is not None:
        return line
    segment = line.segments[0]
    patterns = [option for option in segment.options if option.name in ("e", "f")]
    if len(patterns) != 1 or patterns[0].name != "e" or not (value := patterns[0].value) or not value.literal:
        return line
    segment.options = [option for option in segment.options if option is not patterns[0]]
    segment.operands = [value, *segment.operands]
    line.sequence = [value if item is patterns[0] else item for item in line.sequence]
    return line


def _without_here(name: str, line: Line, on: Set[str]) -> Line:
    """`ls .` as `ls`."""
    if "default_operand" in on and name in _HERE and [word.literal for word in line.operands] == ["."]:
        for segment in line.segments:
            segment.operands.clear()
        line.sequence = [item for item in line.sequence if not isinstance(item, Word)]
        line.dashes = None
    return line


def first_lines(name: str, simple: Simple, on: Set[str]) -> Simple:
    """`sed -n 1,5p f` and `sed 5q f` as `head -n 5 f`; a single file, for `head` puts names above several."""
    if "sed_head" not in on or name != "sed":
        return simple
    words = [word.literal for word in simple.args]
    quiet = words[:1] == ["-n"]
    rest = words[1:] if quiet else words
    found = _FIRST_LINES.fullmatch(rest[0]) if rest and rest[0] else None
    operand = simple.args[2 if quiet else 1 :]
    if (
        found is None
        or len(operand) > 1
        or quiet == (found[1] is None)
        or any(w.start.startswith("-") for w in operand)
    ):
        return simple
    return replace(simple, name=text_word("head"), args=[text_word("-n"), text_word(found[1] or found[2]), *operand])


def from_file(stages: Sequence[Simple | Block], operators: Sequence[str]) -> list[Simple | Block]:
    """`cat f | grep x` and `grep x < f` as `grep x f`; `cat f | wc -l` as `wc -l < f`."""
    found = list(stages)
    if len(found) > 1 and operators[0] == "|" and isinstance(found[1], Simple) and _may_read(found[1]):
        first = found[0]
        if isinstance(first, Simple) and (word := _only_file(first)) is not None:
            redirect = Redirect("0", "<", word)
            found[:2] = [replace(found[1], redirects=[redirect, *found[1].redirects])]
    if isinstance(found[0], Simple):
        found[0] = _file_operand(found[0])
    return found


def _only_file(simple: Simple) -> Word | None:
    """The one file that a plain `cat` prints."""
    if simple.name is None or simple.name.literal != "cat" or simple.assignments or simple.redirects:
        return None
    if len(simple.args) != 1 or not simple.args[0].literal or simple.args[0].start.startswith("-"):
        return None
    return simple.args[0]


def _may_read(simple: Simple) -> bool:
    if simple.name is None or simple.name.literal in _ACT_ON_SHELL:
        return False
    return all(redirect.descriptor != "0" for redirect in simple.redirects)


def _file_operand(simple: Simple) -> Simple:
    name = simple.name.literal if simple.name else None
    inputs = [redirect for redirect in simple.redirects if redirect.descriptor == "0"]
    if name not in _READERS or len(inputs) != 1 or inputs[0].operator != "<" or not isinstance(inputs[0].target, Word):
        return simple
    file, table = inputs[0].target, command(name)
    if not file.literal or file.literal.startswith("-") or table is None:
        return simple
    line = read_line(simple.args, table)
    if line is None or len(line.operands) != _file_place(name, line):
        return simple
    return replace(simple, args=[*simple.args, file], redirects=[r for r in simple.redirects if r is not inputs[0]])


def _file_place(name: str, line: Line) -> int | None:
    """How many operands stand before the file that a command reads; None where the file's name may show."""
    before, instead, shown = _READERS[name]
    given = {option.name for option in line.given()}
    if len(line.segments) > 1 or given & set(shown.split()) or line.dashes is not None:
        return None
    if any(mark in word.raw for word in line.operands for mark in _SHOWN_BY_SCRIPT.get(name, ())):
        return None
    return 0 if given & set(instead.split()) else before


def find_form(words: Sequence[Word], on: Set[str]) -> tuple[object, ...]:
    """`find` with its own syntax: starting points, then tests and actions in order.

    Neighbouring tests without an effect may stand in any order, a negation stays with its test, and `-print` at the
    end of an expression without `-o` and actions is what `find` does anyway.
    """
    at = 0
    while at < len(words) and not words[at].start.startswith(("-", "(", "!")) and words[at].raw != "!":
        at += 1
    paths, rest = [word_form(word, on) for word in words[:at]], list(words[at:])
    if "default_operand" in on and not paths and (not rest or rest[0].literal not in ("-H", "-L", "-P")):
        paths = [word_form(text_word("."), on)]
    literals = [word.literal for word in rest]
    if "find_tests" not in on or max(map(literals.count, ("-maxdepth", "-mindepth"))) > 1:
        return (tuple(paths), tuple(word_form(word, on) for word in rest))
    if (
        literals
        and literals[-1] == "-print"
        and not (_ACTIONS & set(literals[:-1]))
        and not {"-o", "-or", ","} & set(literals)
    ):
        rest.pop()
    return (tuple(paths), _tests_form(rest, on))


def _tests_form(words: Sequence[Word], on: Set[str]) -> tuple[object, ...]:
    form: list[object] = []
    run: list[tuple[object, ...]] = []
    at = 0
    while at < len(words):
        negated = words[at].literal in ("!", "-not") or words[at].raw == "!"
        test = at + negated
        literal = words[test].literal if test < len(words) else None
        size = 2 if literal in _TESTS_WITH_VALUE else 1 if literal in _TESTS else 0
        if size and test + size <= len(words):
            run.append((negated, *(word_form(word, on) for word in words[test : test + size])))
            at = test + size
            continue
        form += [*sorted(run, key=repr), word_form(words[at], on)]
        run = []
        at += 1
    return (*form, *sorted(run, key=repr))


def table_of(simple: Simple) -> tuple[str, Command | None, int]:
    """A command's name with its sub-command, what the table says of it, and how many arguments the name takes."""
    name = (simple.name.literal if simple.name else None) or ""
    literals = [word.literal for word in simple.args[:2]]
    if name.rpartition("/")[2] in ("python", "python3") and len(literals) == 2 and literals[0] == "-m":
        module = literals[1] or ""
        behind = simple.args[2].literal if len(simple.args) > 2 else None
        if module == "pytest":
            return f"{name} -m {module}", command(module), 2
        if module == "pip" and behind:
            return f"{name} -m {module} {behind}", command(f"{module} {behind}"), 3
    if name in WITH_SUBCOMMANDS and literals and literals[0]:
        return f"{name} {literals[0]}", command(f"{name} {literals[0]}"), 1
    return name, command(name), 0
