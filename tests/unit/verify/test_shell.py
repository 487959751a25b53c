"""Shell equivalence: which texts are the same commands, by which switch, and which only look like it."""

import os
import subprocess
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pivot.verify.shell import ShellRelaxations, equivalent
from pivot.verify.shell_tree import parse

ALL = ShellRelaxations()
NOTHING = dict.fromkeys(ALL.on(), False)


def same(left: str, right: str, **switches: Any) -> tuple[str, ...] | None:
    return equivalent(left, right, ShellRelaxations(**switches))


# (one, other, the switches that their equality needs; "spacing" where it needs none)
SAME: list[tuple[str, str, tuple[str, ...]]] = [
    ("ls", "ls", ()),
    ("ls  -l   a", "ls -l a", ("spacing",)),
    ("ls # all", "ls", ("spacing",)),
    ("ls;", "ls", ("spacing",)),
    ("ls; pwd", "ls\npwd", ("spacing",)),
    ("echo a >f", "echo a 1> f", ("spacing",)),
    ("cp -R a b", "cp -r a b", ("spacing",)),
    ("ls -l \\\n  -a", "ls -l -a", ("spacing",)),
    # quoting
    ("cat 'a b'", 'cat "a b"', ("quoting",)),
    ("cat a\\ b", "cat 'a b'", ("quoting",)),
    ("cat $'a\\tb'", "cat 'a\tb'", ("quoting",)),
    ('awk "{print \\$2}" f', "awk '{print $2}' f", ("quoting",)),
    ("echo ${x}", "echo $x", ("quoting",)),
    ('echo "${x}y"', 'echo "$x"y', ("quoting",)),
    ("find . -name \\*.py", "find . -name '*.py'", ("quoting",)),
    # options
    ("ls -a -l", "ls -l -a", ("flag_order",)),
    ("grep x f -n", "grep -n x f", ("flag_order",)),
    ("ls -la", "ls -l -a", ("flag_clusters",)),
    ("ls -la", "ls -al", ("flag_clusters", "flag_order")),
    ("head -n5 f", "head -n 5 f", ("flag_clusters",)),
    ("cut -d, -f1 f", "cut -d , -f 1 f", ("flag_clusters",)),
    ("ls --all", "ls -a", ("long_flags",)),
    ("tail --lines=5 f", "tail --lines 5 f", ("long_flags",)),
    ("head -5 f", "head -n 5 f", ("numeric_flags",)),
    ("grep -2 x f", "grep -C 2 x f", ("numeric_flags",)),
    ("rm -- a", "rm a", ("dash_dash",)),
    ("grep -r --include=*.py x .", "grep -r --include='*.py' x .", ("option_glob", "quoting")),
    ("docker run -d --name web nginx", "docker run --name web -d nginx", ("flag_order",)),
    ("docker build . --tag a", "docker build -t a .", ("flag_order", "long_flags")),
    ("useradd -m -s /bin/sh bob", "useradd -s /bin/sh -m bob", ("flag_order",)),
    ("sudo ls -la", "sudo ls -l -a", ("flag_clusters",)),
    ("timeout 5 ls --all", "timeout 5 ls -a", ("long_flags",)),
    ("python3 -m pytest -x -v", "python3 -m pytest -v -x", ("flag_order",)),
    # redirections
    ("make > o 2> e", "make 2> e > o", ("redirect_form",)),
    ("make &> o", "make > o 2>&1", ("redirect_form",)),
    ("make &>> o", "make >> o 2>&1", ("redirect_form",)),
    ("make |& cat", "make 2>&1 | cat", ("redirect_form",)),
    ("cat > f <<'A'\n$x\nA", "cat <<'B' > f\n$x\nB", ("redirect_form",)),
    ("cat <<A\nplain\nA", "cat <<'A'\nplain\nA", ("redirect_form",)),
    ("cat <<A | wc -l\nx\nA", "cat <<B | wc -l\nx\nB", ("redirect_form",)),
    # blocks, pipes and lists: what is inside is compared in the same way
    ("(ls -la)", "(ls -l -a)", ("flag_clusters",)),
    ("{ ls -la; }", "{ ls -l -a; }", ("flag_clusters",)),
    ("if [ -f x ]; then ls -la; fi", "if test -f x\nthen ls -l -a\nfi", ("aliases", "flag_clusters")),
    ("for i in 1 2; do ls -la $i; done", "for i in 1 2\ndo\n  ls -l -a $i\ndone", ("flag_clusters",)),
    ("while true; do ls --all; done", "while true; do ls -a; done", ("long_flags",)),
    ("ls -la | wc -l", "ls -l -a | wc --lines", ("flag_clusters", "long_flags")),
    ("ls --all || ls -l && pwd", "ls -a || ls -l && pwd", ("long_flags",)),
    ("ls --all &", "ls -a &", ("long_flags",)),
    ("X=1 ls --all", "X=1 ls -a", ("long_flags",)),
    ("export A='x'", "export A=x", ("quoting",)),
]  # fmt: skip

# (a rewrite's switch, two texts that it makes the same, two that only look like it)
REWRITES: list[tuple[str, tuple[str, str], tuple[str, str]]] = [
    ("aliases", ("egrep x f", "grep -E x f"), ("egrep x f", "grep x f")),
    ("aliases", ("fgrep x f", "grep -F x f"), ("fgrep x f", "grep -E x f")),
    ("aliases", ("gunzip f.gz", "gzip -d f.gz"), ("gunzip f.gz", "gzip f.gz")),
    ("aliases", ("zcat f.gz", "gzip -d -c f.gz"), ("zcat f.gz", "gzip -d f.gz")),
    ("aliases", ("py.test -x", "pytest -x"), ("py.test -x", "python -m pytest -x")),
    ("aliases", ("tar xf a", "tar -xf a"), ("tar xfz a", "tar -xfz a")),
    ("aliases", ("[ -f x ]", "test -f x"), ("[ -f x ]", "[[ -f x ]]")),
    ("aliases", ("[ ! -f x -a a = b ]", "test ! -f x -a a = b"), ("[ ! -f x ]", "test -f x")),
    ("aliases", ("apt install -y x", "apt-get install -y x"), ("apt upgrade -y", "apt-get upgrade -y")),
    ("aliases", ("chmod 0600 f", "chmod 600 f"), ("chmod 2755 f", "chmod 755 f")),
    ("aliases", ("chmod 0600 f", "chmod 600 f"), ("chmod 600 0600", "chmod 600 600")),
    ("cat_pipe", ("cat f | grep x", "grep x f"), ("cat f g | grep x", "grep x f g")),
    ("cat_pipe", ("cat f | grep x", "grep x < f"), ("cat -n f | grep x", "grep x f")),
    ("cat_pipe", ("cat f | grep -c x", "grep -c x f"), ("cat f | grep -H x", "grep -H x f")),
    ("cat_pipe", ("cat f | grep -e x", "grep -e x f"), ("cat f | grep -l x", "grep -l x f")),
    ("cat_pipe", ("cat f | sed s/a/b/", "sed s/a/b/ f"), ("cat f | sed -i s/a/b/", "sed -i s/a/b/ f")),
    ("cat_pipe", ("cat f | sed -n 3p", "sed -n 3p f"), ("cat f | sed F", "sed F f")),
    ("cat_pipe", ("cat f | awk '{print $1}'", "awk '{print $1}' f"), ("cat f | awk '{print FILENAME}'",
     "awk '{print FILENAME}' f")),
    ("cat_pipe", ("cat f | jq .a", "jq .a f"), ("cat f | jq -n .a", "jq -n .a f")),
    ("cat_pipe", ("cat f | cat", "cat f"), ("cat f | cat g", "cat f g")),
    ("cat_pipe", ("cat f | head -n 3", "head -n 3 f"), ("cat f | head -v", "head -v f")),
    ("cat_pipe", ("cat f | tail -n 3", "tail -n 3 f"), ("cat f | tail -f", "tail -f f")),
    ("cat_pipe", ("cat f | sort -u", "sort -u f"), ("cat f | sort -o f", "sort -o f f")),
    ("cat_pipe", ("cat f | uniq -c", "uniq -c f"), ("cat f | uniq - g", "uniq f g")),
    ("cat_pipe", ("cat f | cut -c 1", "cut -c 1 f"), ("cat f | cut -c 1 g", "cut -c 1 g f")),
    ("cat_pipe", ("cat f | nl", "nl f"), ("cat f |& nl", "nl f")),
    ("cat_pipe", ("cat f | wc -l", "wc -l < f"), ("cat f | wc -l", "wc -l f")),
    ("cat_pipe", ("cat f | grep x | wc -l", "grep x f | wc -l"), ("cat $f | grep x", "grep x $f")),
    ("cat_pipe", ("cat f | python3 a.py", "python3 a.py < f"), ("cat f | read x", "read x < f")),
    ("cd_chain", ("cd d && ls", "cd d; ls"), ("cd d && rm -r x", "cd d; rm -r x")),
    ("cd_chain", ("cd d && cat f | wc -l", "cd d\ncat f | wc -l"), ("cd d && ls > o", "cd d; ls > o")),
    ("cd_chain", ("cd d && git status", "cd d; git status"), ("cd d && git clean", "cd d; git clean")),
    ("cd_chain", ("cd d && ls > /srv/o", "cd d; ls > /srv/o"), ("cd d || ls", "cd d; ls")),
    ("default_operand", ("ls -a .", "ls -a"), ("ls -a ..", "ls -a")),
    ("default_operand", ("du .", "du"), ("du . x", "du x")),
    ("default_operand", ("find . -empty", "find -empty"), ("find /x -empty", "find -empty")),
    ("dot_slash", ("cat ./f", "cat f"), ("./f", "f")),
    ("dot_slash", ("python3 ./a.py", "python3 a.py"), ("python3 a.py ./b", "python3 a.py b")),
    ("dot_slash", ("cd ./d", "cd d"), ("cd ./-", "cd -")),
    ("dot_slash", ("rm ./f", "rm f"), ("rm -v ./f", "rm -v f")),
    ("dot_slash", ("mkdir -p ./d", "mkdir -p d"), ("mkdir -v ./d", "mkdir -v d")),
    ("dot_slash", ("cp ./a b", "cp a b"), ("cp -s ./a b", "cp -s a b")),
    ("dot_slash", ("grep x ./f", "grep x f"), ("grep x ./f g", "grep x f g")),
    ("dot_slash", ("cut -c 1 ./f", "cut -c 1 f"), ("cut -c 1 --output-delimiter ./b f",
     "cut -c 1 --output-delimiter b f")),
    ("dot_slash", ("cat ./f", "cat f"), ("ls ./f", "ls f")),
    ("dot_slash", ("rm ./f", "rm f"), ("rm ./-r", "rm -r")),
    ("trailing_slash", ("ls d/", "ls d"), ("ls -d d/", "ls -d d")),
    ("trailing_slash", ("cd d/", "cd d"), ("cd /", "cd")),
    ("trailing_slash", ("grep -r x d/", "grep -r x d"), ("grep -r x/ d", "grep -r x d")),
    ("trailing_slash", ("mkdir d/", "mkdir d"), ("mkdir -v d/", "mkdir -v d")),
    ("trailing_slash", ("ls d/", "ls d"), ("ls d/ e", "ls d e")),
    ("trailing_slash", ("ls d/", "ls d"), ("rm -r d/", "rm -r d")),
    ("trailing_slash", ("ls d/", "ls d"), ("cp a d/", "cp a d")),
    ("operand_order", ("rm a b", "rm b a"), ("rm -i a b", "rm -i b a")),
    ("operand_order", ("touch a b", "touch b a"), ("mkdir a a/b", "mkdir a/b a")),
    ("operand_order", ("git add a b", "git add b a"), ("git add -n a b", "git add -n b a")),
    ("operand_order", ("rm a b", "rm b a"), ("rm $a b", "rm b $a")),
    ("operand_order", ("rm a b", "rm b a"), ("cp a b", "cp b a")),
    ("pattern_option", ("grep -n -e x f", "grep -n x f"), ("grep -n -e x -e y f", "grep -n x y f")),
    ("pattern_option", ("grep -e -x f", "grep -- -x f"), ("grep -e -x f", "grep -x f")),
    ("pattern_option", ("sed -i -e s/a/b/ f", "sed -i s/a/b/ f"), ("sed -e p -f s f", "sed p -f s f")),
    ("pattern_option", ("grep -e x f", "grep x f"), ("grep -e $x f", "grep $x f")),
    ("find_tests", ("find . -type f -name x", "find . -name x -type f"), ("find . -name x -o -type f",
     "find . -type f -o -name x")),
    ("find_tests", ("find . ! -name x -type f", "find . -type f ! -name x"), ("find . ! -name x -type f",
     "find . -name x ! -type f")),
    ("find_tests", ("find . -name x -print", "find . -name x"), ("find . -name x -o -name y -print",
     "find . -name x -o -name y")),
    ("find_tests", ("find . -type f -name x -delete", "find . -name x -type f -delete"), ("find . -delete -name x",
     "find . -name x -delete")),
    ("find_tests", ("find . -type f -name x", "find . -name x -type f"), ("find . -maxdepth 1 -maxdepth 2",
     "find . -maxdepth 2 -maxdepth 1")),
    ("sed_head", ("sed -n 1,5p f", "head -n 5 f"), ("sed -n 2,5p f", "head -n 5 f")),
    ("sed_head", ("sed 5q f", "head -n 5 f"), ("sed -n 5q f", "head -n 5 f")),
    ("sed_head", ("sed -n 1,5p f", "head -n 5 f"), ("sed -n 1,5p f g", "head -n 5 f g")),
    ("sed_head", ("sed -n 1,5p f", "head -n 5 f"), ("sed 1,5p f", "head -n 5 f")),
]  # fmt: skip

DIFFERENT: list[tuple[str, str]] = [
    ("ls; pwd", "pwd; ls"),
    ("ls && pwd", "ls; pwd"),
    ("ls && pwd", "ls || pwd"),
    ("a | b || c", "a || b | c"),
    ("ls &", "ls"),
    ("! ls", "ls"),
    ("(cd d; ls)", "cd d; ls"),
    ("(ls)", "{ ls; }"),
    ("sudo ls", "ls"),
    ("X=1 ls", "export X=1; ls"),
    ("X=1 Y=2 ls", "Y=2 X=1 ls"),
    ("ls *.py", "ls '*.py'"),
    ("ls ~", "ls '~'"),
    ("ls {a,b}", "ls '{a,b}'"),
    ('echo "$x"', "echo $x"),
    ('echo "$x"', "echo '$x'"),
    ("echo a b", "echo 'a b'"),
    ("echo $(ls -la)", "echo $(ls -a)"),
    ("diff <(ls a) b", "diff <(ls b) b"),
    ("grep -A 1 -C 3 x f", "grep -C 3 -A 1 x f"),
    ("grep -e x -e y f", "grep -e y -e x f"),
    ("ls -t -S", "ls -S -t"),
    ("curl -d a -d b u", "curl -d b -d a u"),
    ("docker run -d redis", "docker run redis -d"),
    ("xargs grep -n", "xargs -n grep"),
    ("grep -- -x f", "grep -x f"),
    ("git checkout -- x", "git checkout x"),
    ("tar -xfv a", "tar -xvf a"),
    ("grep --nosuch -i x f", "grep -i --nosuch x f"),
    ("unknown -a -b", "unknown -b -a"),
    ("head -5 f", "head -c 5 f"),
    ("grep -r --include=*.py x .", "grep -r --include='*.sh' x ."),
    ("make > o 2>&1", "make 2>&1 > o"),
    ("make > o", "make >> o"),
    ("make > o |& cat", "make 2>&1 > o | cat"),
    ("cat <<A\n$x\nA", "cat <<'A'\n$x\nA"),
    ("cat <<A\n x\nA", "cat <<A\nx\nA"),
    ("cat <<-A\n\tx\nA", "cat <<A\n\tx\nA"),
    ("cat <<< x", "cat < x"),
    ("if a; then b; fi", "if a; then b; else b; fi"),
    ("for i in 1 2; do ls; done", "for i in 2 1; do ls; done"),
    ("while a; do b; done", "until a; do b; done"),
    ("[ a = b ]", "[ a != b ]"),
    ("[ $a = b ]", '[ "$a" = b ]'),
    ("bash -c 'ls -la'", "bash -c 'ls -l -a'"),
    ("'ls'", "ls"),
    ("ls\\\n-a", "ls -a"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "used"), SAME)
def test_the_same_commands_are_equal_both_ways_round_by_the_switches_that_they_need(
    one: str, other: str, used: tuple[str, ...]
) -> None:
    assert same(one, other) == same(other, one) == used


@pytest.mark.parametrize(("one", "other", "used"), [case for case in SAME if set(case[2]) - {"spacing"}])
def test_each_switch_that_was_used_is_needed_and_they_are_enough(one: str, other: str, used: tuple[str, ...]) -> None:
    assert same(one, other, **NOTHING | dict.fromkeys(used, True)) == used
    for switch in used:
        assert same(one, other, **{switch: False}) is None


@pytest.mark.parametrize(("switch", "equal", "near"), REWRITES)
def test_a_rewrite_needs_its_switch_and_stops_at_a_near_miss(
    switch: str, equal: tuple[str, str], near: tuple[str, str]
) -> None:
    assert switch in (same(*equal) or ())
    assert same(*equal, **{switch: False}) is None
    assert same(*near) is None
    assert same(*near[::-1]) is None


def test_every_switch_has_a_case() -> None:
    shown = {switch for _, _, used in SAME for switch in used} | {switch for switch, _, _ in REWRITES}
    assert shown - {"spacing"} == ALL.on()


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_commands_that_do_something_else_are_not_equal(one: str, other: str) -> None:
    assert same(one, other) is None
    assert same(other, one) is None


# (one, other, equal): typed into a terminal, where a newline is also a key.
TYPED: list[tuple[str, str, bool]] = [
    ("ls -la\n", "ls -l -a\n", True),
    ("ls -la", "ls -l -a\n", False),
    ("ls\n\n", "ls\n", True),
    ("python3 a.py\n\n", "python3 a.py\n", True),
    ("./a\n\n", "./a\n", False),
    ("sudo ls\n\n", "sudo ls\n", False),
    ("read x\nls -la\n", "read x\nls -l -a\n", False),
    ("vim f\n:w -la\n", "vim f\n:w -l -a\n", False),
    ("cat\nls -la\n", "cat\nls -l -a\n", False),
    ("cat f\nls -la\n", "cat f\nls -l -a\n", True),
    ("python3\nprint( 1)\n", "python3\nprint(1)\n", False),
    ("i  x\n", "i x\n", False),
    ("ls; pwd\n", "ls\npwd\n", True),
    ("make; ./a\n", "make\n./a\n", True),
    ("./a; ls\n", "./a\nls\n", False),
]


@pytest.mark.parametrize(("one", "other", "equal"), TYPED)
def test_what_a_program_may_read_is_not_taken_for_commands(one: str, other: str, equal: bool) -> None:
    for left, right in ((one, other), (other, one)):
        assert (equivalent(left, right, ALL, typed=True) is not None) == equal


def test_a_last_newline_counts_unless_the_switch_is_on() -> None:
    assert equivalent("ls", "ls\n", ALL, typed=True) is None
    assert equivalent("ls", "ls\n", ShellRelaxations(final_enter=True), typed=True) == ("final_enter",)


FLAGS = st.lists(st.sampled_from(["-l", "-a", "-la", "-al", "--all", "-t", "-r", "-S"]), max_size=3)
WORDS = st.sampled_from(
    ["f", "./f", "'f'", '"f"', "d/", "d", ".", "$x", '"$x"', "${x}", "*.py", "'*.py'", "a\\ b", "'a b'", "--", "-5"]
)
SIMPLE = st.one_of(
    st.builds(lambda name, flags, words: " ".join([name, *flags, *words]),
              st.sampled_from(["ls", "rm", "cat", "unknown"]), FLAGS, st.lists(WORDS, max_size=2)),
    st.builds(lambda name, more, words: " ".join([name, *more, "x", *words]), st.sampled_from(["grep", "egrep"]),
              st.lists(st.sampled_from(["-n", "-i", "-ni", "-in", "-e y", "-A 1", "-A1", "-C 2"]), max_size=2),
              st.lists(WORDS, max_size=1)),
    st.builds(lambda verb, words: " ".join([verb, *words]),
              st.sampled_from(["head -5", "head -n 5", "sed -n 1,5p", "sed 5q", "cd", "find -type f -name a",
                               "find . -name a -type f", "[ -f f ]", "test -f f", "mkdir -p", "wc -l"]),
              st.lists(WORDS, max_size=2)),
)  # fmt: skip
REDIRECTS = st.sampled_from(["", "", " > o", " 2> e > o", " > o 2> e", " &> o", " > o 2>&1", " < f", " 2>&1"])
STAGE = st.builds(str.__add__, SIMPLE, REDIRECTS)
PIPE = st.lists(STAGE, min_size=1, max_size=2).map(" | ".join) | STAGE.map("cat f | {}".format)
LINE = st.recursive(
    PIPE,
    lambda inner: st.one_of(
        st.builds("{}{}{}".format, inner, st.sampled_from(["; ", " && ", " || ", "\n", " & "]), inner),
        inner.map("({})".format),
        inner.map("if {}; then ls; fi".format),
    ),
    max_leaves=3,
)


@given(LINE, LINE)
@settings(max_examples=400)
def test_equality_is_reflexive_and_symmetric(one: str, other: str) -> None:
    for typed in (False, True):
        assert equivalent(one, one, ALL, typed=typed) == ()
        assert equivalent(f" {one}", one, ALL, typed=typed) == (None if parse(one) is None else ("spacing",))
        assert equivalent(one, other, ALL, typed=typed) == equivalent(other, one, ALL, typed=typed)


@given(SIMPLE, SIMPLE, SIMPLE)
@settings(max_examples=400)
def test_equality_is_transitive(one: str, other: str, third: str) -> None:
    if same(one, other) is not None and same(other, third) is not None:
        assert same(one, third) is not None


@given(PIPE, PIPE)
@settings(max_examples=400)
def test_the_switches_that_were_used_are_enough_and_none_can_be_spared(one: str, other: str) -> None:
    used = same(one, other)
    if not used or used == ("spacing",):
        return
    assert same(one, other, **NOTHING | dict.fromkeys(used, True)) == used
    for switch in used:
        assert same(one, other, **NOTHING | dict.fromkeys(used, True) | {switch: False}) is None


def test_nothing_is_ever_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("a command was run")

    for module, names in (
        (os, ("system", "popen", "fork", "execve", "posix_spawn")),
        (subprocess, ("Popen", "run", "call", "check_output")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, run)
    for one, other, used in SAME:
        assert same(f"{one}  ", f"{other}   ") == (used or ("spacing",))


HOSTILE = {
    "a long line": "echo " + "a" * 500_000,
    "many pipes": "a" + " | a" * 5_000,
    "deep subshells": "(" * 5_000 + "ls" + ")" * 5_000,
    "deep substitutions": "$(" * 3_000 + "ls" + ")" * 3_000,
    "deep quotes": "'\"" * 10_000,
    "open quote": "echo '" + "a" * 30_000,
    "open double quote": 'echo "' + "$(" * 5_000,
    "open document": "cat <<EOF\n" + "a\n" * 10_000,
    "many documents": "cat <<A\n" * 500,
    "open braces": "{" * 10_000,
    "many ifs": "if a; then " * 2_000,
    "backslashes": "\\" * 30_001,
    "NUL": "ls\x00-la",
    "escape": "ls \x1b[A",
    "a lone surrogate": "ls \ud800",
    "a byte order mark": "\ufeffls",
    "many options": "ls " + "-a " * 5_000,
    "a long cluster": "ls -" + "a" * 20_000,
    "tests": "[ " + "! " * 2_000 + "-f x ]",
    "tests in a row": "[ -f x ]; " * 2_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_bounded_and_equals_itself(name: str) -> None:
    text = HOSTILE[name]
    for typed in (False, True):
        start = time.process_time()
        assert equivalent(text, text, ALL, typed=typed) == ()
        assert equivalent(text, "ls", ALL, typed=typed) is None
        found = equivalent(text, text + " ", ALL, typed=typed)
        assert time.process_time() - start < 2.0  # far above what it takes, far below what the parser would
        assert found is None or set(found) <= ALL.on() | {"spacing"}


@pytest.mark.parametrize(
    "text", ["echo 'a", 'echo "a', "ls |", "ls &&", "(ls", "if a; then b", "ls )", "a\x00b", "a\rb"]
)
def test_what_is_no_command_equals_only_itself(text: str) -> None:
    assert parse(text) is None
    assert same(text, text) == ()
    assert same(text, text + " ") is None


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_text_makes_it_raise(one: str, other: str) -> None:
    assert equivalent(one, other, ALL) == equivalent(other, one, ALL)
    assert equivalent(one, other, ALL, typed=True) == equivalent(other, one, ALL, typed=True)
