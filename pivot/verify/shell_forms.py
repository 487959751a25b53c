"""Normal forms of scripts: two scripts mean the same under some switches where their forms are equal.

Every form is a nested tuple. Order is kept in all that a shell does in order: sequences, pipelines, redirections,
assignments, operands.
"""

from collections.abc import Sequence, Set
from dataclasses import replace

from pivot.verify import shell_rewrites as rewrites
from pivot.verify.shell_options import Form, line_form, read_line, unglobbed, word_form
from pivot.verify.shell_script import Block, Chain, Document, Item, Pipeline, Redirect, Simple
from pivot.verify.shell_words import Word
from pivot.verify.words import word_set

# What runs the command behind it, and how many words stand between.
_WRAPPERS = {"sudo": 0, "nohup": 0, "time": 0, "command": 0, "exec": 0, "timeout": 1}
# Where `cd d; c` runs somewhere else than `cd d && c` when there is no `d`, and that harms.
_HARMFUL = word_set(
    """
    rm rmdir mv cp dd tee truncate shred chmod chown chgrp ln install tar unzip gunzip gzip rsync xargs patch git
    kill pkill docker
    """
)
_HARMLESS_GIT = frozenset(("status", "log", "diff", "show", "branch", "grep", "blame"))
_HARMFUL_WORDS = ("-delete", "-exec", "-execdir", "-i", "--in-place")


def sequence_form(items: Sequence[Item], on: Set[str]) -> Form:
    """A sequence whose separators say nothing but what runs in the background."""
    return tuple((chain_form(chain, on), item.background) for item in items for chain in split_cd(item, on))


def split_cd(item: Item, on: Set[str]) -> list[Chain]:
    """`cd d && c` as `cd d` and `c`, unless `c` may do harm in another directory."""
    chain = item.chain
    if "cd_chain" not in on or item.background or set(chain.operators) != {"&&"}:
        return [chain]
    parts: list[Chain] = []
    rest = chain
    while rest.operators and _is_cd(rest.pipelines[0]) and all(map(_is_harmless, rest.pipelines[1:])):
        parts.append(Chain(rest.pipelines[:1]))
        rest = Chain(rest.pipelines[1:], rest.operators[1:])
    return [*parts, rest]


def _is_cd(pipeline: Pipeline) -> bool:
    stage = pipeline.stages[0]
    return (
        len(pipeline.stages) == 1
        and not pipeline.negated
        and isinstance(stage, Simple)
        and stage.name is not None
        and stage.name.literal == "cd"
        and len(stage.args) == 1
        and not stage.redirects
        and not stage.assignments
    )


def _is_harmless(pipeline: Pipeline) -> bool:
    for stage in pipeline.stages:
        if isinstance(stage, Block) or stage.name is None or stage.name.literal is None:
            return False
        words = [stage.name.literal, *(word.literal or "" for word in stage.args)]
        if words[0] == "git" and len(words) > 1 and words[1] in _HARMLESS_GIT:
            words = words[1:]
        if any(word in _HARMFUL or word.startswith(_HARMFUL_WORDS) for word in words):
            return False
        if any(">" in redirect.operator and not _is_elsewhere(redirect) for redirect in stage.redirects):
            return False
    return True


def _is_elsewhere(redirect: Redirect) -> bool:
    """Whether a redirection leads to the same file from every directory."""
    target = redirect.target
    return isinstance(target, Word) and (target.start.startswith("/") or ">&" in redirect.operator)


def chain_form(chain: Chain, on: Set[str]) -> Form:
    """Pipelines and the operators between them."""
    return (*(_pipeline_form(pipeline, on) for pipeline in chain.pipelines), tuple(chain.operators))


def _pipeline_form(pipeline: Pipeline, on: Set[str]) -> Form:
    stages, operators = pipeline.stages, pipeline.operators
    if "redirect_form" in on:
        stages, operators = rewrites.with_plain_pipes(stages, operators)
    if "aliases" in on:
        stages = [rewrites.aliased(stage, on) if isinstance(stage, Simple) else stage for stage in stages]
    if "cat_pipe" in on:
        shorter = rewrites.from_file(stages, operators)
        operators = operators[len(stages) - len(shorter) :]
        stages = shorter
    return (pipeline.negated, tuple(_stage_form(stage, on) for stage in stages), tuple(operators))


def _stage_form(stage: Simple | Block, on: Set[str]) -> Form:
    if isinstance(stage, Block):
        parts = tuple(
            part
            if isinstance(part, str)
            else word_form(part, on)
            if isinstance(part, Word)
            else sequence_form(part, on)
            for part in stage.parts
        )
        return (stage.kind, parts, _redirects_form(stage.redirects, on))
    assignments = tuple((name, word_form(value, on)) for name, value in stage.assignments)
    return (assignments, _command_form(stage, on), _redirects_form(stage.redirects, on))


def _command_form(simple: Simple, on: Set[str]) -> Form:
    if simple.name is None:
        return ()
    name = simple.name.literal
    if name in _WRAPPERS and (inner := _wrapped(simple, _WRAPPERS[name])) is not None:
        between = tuple(word_form(word, on) for word in simple.args[: _WRAPPERS[name]])
        return (name, between, _command_form(inner, on))
    plain = simple.name
    simple = rewrites.first_lines(name or "", rewrites.aliased(simple, on), on)
    if "option_glob" in on:
        simple = replace(simple, args=[unglobbed(word) for word in simple.args])
    full, table, taken = rewrites.table_of(simple)
    words = rewrites.with_quiet_paths(full, simple.args[taken:], on)
    if full == "find":
        return ("find", rewrites.find_form(words, on))
    line = read_line(words, table) if table is not None else None
    if line is None or table is None:
        return (
            word_form(simple.name or plain, on),
            tuple(word_form(word, on) for word in (*simple.args[:taken], *words)),
        )
    return (full, line_form(rewrites.plainer(full, line, on), table, on))


def _wrapped(simple: Simple, between: int) -> Simple | None:
    """The command that another runs, where the words between are plain."""
    words = simple.args[: between + 1]
    if len(words) <= between or any(not word.literal or word.start[0] == "-" or "=" in word.start for word in words):
        return None
    return Simple(words[-1], simple.args[between + 1 :])


def _redirects_form(redirects: Sequence[Redirect], on: Set[str]) -> Form:
    if "redirect_form" in on:
        redirects = [plain for redirect in redirects for plain in rewrites.apart(redirect)]
    forms = [_redirect_form(redirect, on) for redirect in redirects]
    descriptors = [redirect.descriptor for redirect in redirects]
    # Different descriptors are set independently, unless one becomes a copy of another.
    copies = any("&" in redirect.operator for redirect in redirects)
    if "redirect_form" in on and len(set(descriptors)) == len(descriptors) and not copies:
        forms.sort(key=lambda form: form[0])
    return tuple(forms)


def _redirect_form(redirect: Redirect, on: Set[str]) -> Form:
    target = redirect.target
    if isinstance(target, Document):
        mark = () if "redirect_form" in on else (target.mark,)
        return (redirect.descriptor, redirect.operator, target.expanded, target.body, *mark)
    return (redirect.descriptor, redirect.operator, None if target is None else word_form(target, on))
