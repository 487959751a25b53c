"""Steps of coding agents: would this step do what the expert's does?

paper            the tool's name only, which the paper used: binary
gym              NeMo-Gym's rule, binary: category and target equal, likeness at least `full`
gym_continuous   the same, with part of the reward from `partial` on, and less for edits that write much
guarded          our default: steps compared by what they do; commands by shell equivalence
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pivot.trajectory.types import Action
from pivot.verify import swe_effect, swe_gym
from pivot.verify.prose import similarity
from pivot.verify.shell import ShellRelaxations, equivalent
from pivot.verify.swe_text import read_steps
from pivot.verify.swe_tools import (
    BASH,
    EDIT,
    FINISH,
    INSERT,
    LINES,
    PLANNING,
    READ,
    REPLACE,
    SEARCH,
    THINK,
    BadStep,
    Step,
)  # fmt: skip
from pivot.verify.types import DECIDED, MATCH, UNDECIDED, Context, Decide, Verdict, reject

NAME, GYM, GUARDED = "name", "gym", "guarded"
_MOST_STEPS = 32
_LONGEST = 200_000
_SHAPED, _SHAPING = 500, 0.1
_OPEN_END = 100  # lines that a view to the end of a file counts as
# Arguments of a finishing call that say what the result is, and not how one feels about it.
_RESULT_KEYS = ('"answer"', '"final_answer"', '"flag"', '"patch"', '"result"', '"submission"', '"task_completed"')
# What a command may do as well.
_DONE_BY_COMMANDS = frozenset((BASH, READ, SEARCH, EDIT))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweOptions(ShellRelaxations):
    """Switches of `swe`; those of `ShellRelaxations` are for `guarded`.

    Attributes:
        rule: `name`, `gym` or `guarded`.
        full: Least likeness of arguments that earns 1.
        partial: Least likeness that earns anything; `full` for a binary reward, and ignored by `guarded`.
        shape: Take up to a tenth from an edit, in proportion to the characters that it writes up to 500.
        floor: `gym`: least likeness of commands with the same target.
        cover: Share of the lines viewed by the expert that must be viewed.
        excess: `guarded`: at most so many times the expert's lines are viewed.
        prose: `guarded`: least likeness of thoughts and plans.
        across_tools: `guarded`: viewing and searching are the same with an editor, a tool or a command.
        open_texts: `guarded`: commands in texts that differ are left undecided, as calls are. Only for a judge behind
            it: a verifier of messages would compare the thoughts before the commands.
    """

    rule: str = GUARDED
    full: float = 0.8
    partial: float = 0.8
    shape: bool = False
    floor: float = 0.3
    cover: float = 0.8
    excess: float = 3.0
    prose: float = 0.25
    across_tools: bool = True
    open_texts: bool = False

    def __post_init__(self) -> None:
        if self.rule not in (NAME, GYM, GUARDED):
            raise ValueError(f"rule must be {NAME}, {GYM} or {GUARDED}")
        for name in ("full", "partial", "floor", "cover", "prose"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be from 0 to 1")
        if self.partial > self.full or self.excess < 1.0:
            raise ValueError("partial must not be above full, and excess not below 1")


PRESETS = {
    "guarded": SweOptions(),
    "paper": SweOptions(rule=NAME),
    "gym": SweOptions(rule=GYM),
    "gym_continuous": SweOptions(rule=GYM, partial=0.4, shape=True),
}


def swe(options: SweOptions) -> Decide:
    """The verifier under some options.

    Reasons: `match`, `partial`; decided zeros `malformed:why`, `unreadable:why`, `kind_mismatch:message|call`,
    `call_count`, `name_mismatch`, `target_mismatch:sub_command|path|lines|verb|likeness|place|kind`, and under `gym`
    `likeness`; undecided ones `expected_unreadable:why`, `other_message`, `too_long`, and under `guarded`
    `differs:command|edit|query|thought|plan|result|arguments`, which is decided for commands in texts.
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if actual == expected and options.rule == GUARDED:
            return MATCH
        if options.rule == NAME and actual.calls and expected.calls:
            return _same_names([call.name for call in actual.calls], [call.name for call in expected.calls])
        if _too_long(actual) or _too_long(expected):
            return Verdict(0.0, "too_long", status=UNDECIDED)
        try:
            wanted = read_steps(expected)
        except BadStep as error:
            return Verdict(0.0, f"expected_unreadable:{error.reason}", status=UNDECIDED)
        if wanted is None:
            return _expected_message(actual, expected)
        if bool(actual.calls) != bool(expected.calls):
            return reject("kind_mismatch", "message" if expected.calls else "call")
        try:
            given = read_steps(actual)
        except BadStep as error:
            return reject("unreadable", error.reason)
        if given is None:
            return reject("kind_mismatch", "message")
        verdict = _compare(given, wanted, options)
        if verdict.status == UNDECIDED and not expected.calls and not options.open_texts:
            return replace(verdict, status=DECIDED)
        return verdict

    return decide


def _too_long(action: Action) -> bool:
    return len(action.content or "") + sum(len(call.arguments) for call in action.calls) > _LONGEST


def _expected_message(actual: Action, expected: Action) -> Verdict:
    if actual.calls:
        return reject("kind_mismatch", "call")
    if (actual.content or "").strip() == (expected.content or "").strip():
        return MATCH
    return Verdict(0.0, "other_message", status=UNDECIDED)


def _compare(given: tuple[Step, ...], wanted: tuple[Step, ...], options: SweOptions) -> Verdict:
    if options.rule == NAME:
        return _same_names([step.name for step in given], [step.name for step in wanted])
    if options.rule == GYM:
        return _gym(given[0], wanted[0], options)
    if len(given) != len(wanted) or len(given) > _MOST_STEPS:
        return reject("call_count", detail=f"{len(given)} instead of {len(wanted)}")
    used: set[str] = set()
    for mine, theirs in zip(given, wanted, strict=True):
        verdict = _guarded(mine, theirs, options)
        if verdict.reward < 1.0:
            return verdict
        used |= set(verdict.used)
    return Verdict(1.0, "match", used=tuple(sorted(used)))


def _same_names(given: Sequence[str], wanted: Sequence[str]) -> Verdict:
    """The same names as often; nothing else is looked at, arguments that cannot be read included."""
    if Counter(given) == Counter(wanted):
        return MATCH
    return reject("name_mismatch", detail=f"{given[0][:40]!r}, not {wanted[0][:40]!r}")


def _gym(actual: Step, expected: Step, options: SweOptions) -> Verdict:
    """Of several calls only the first is a step there."""
    if not swe_gym.same_tool(actual, expected):
        return _other_tool(actual, expected)
    compared = swe_gym.compare(actual, expected, options.floor, options.cover)
    if compared.difference is not None:
        return reject("target_mismatch", compared.difference)
    likeness = compared.likeness
    detail = f"likeness {likeness!r}"
    if likeness < options.partial:
        return reject("likeness", detail=detail)
    reward = (
        1.0 if likeness >= options.full else 0.5 + 0.5 * (likeness - options.partial) / (options.full - options.partial)
    )
    if options.shape and expected.category == EDIT:
        reward *= 1.0 - _SHAPING * min(len(actual.new) / _SHAPED, 1.0)
    return Verdict(reward, "match" if likeness >= options.full else "partial", detail)


def _guarded(actual: Step, expected: Step, options: SweOptions) -> Verdict:
    if actual.category == BASH == expected.category:
        needed = equivalent(actual.command.strip(), expected.command.strip(), options)
        if needed is not None:
            return Verdict(1.0, "match", used=needed)
    if not (swe_gym.same_tool(actual, expected) or options.across_tools):
        return _other_tool(actual, expected)
    mine, theirs = (swe_effect.effect(step, commands=options.across_tools) for step in (actual, expected))
    if mine.category != theirs.category:
        categories = {actual.category, expected.category}
        if BASH in categories <= _DONE_BY_COMMANDS:
            return _differs("command", actual.command or actual.arguments, expected.command or expected.arguments)
        return reject("target_mismatch", "sub_command") if categories == {EDIT} else _other_tool(actual, expected)
    if not swe_gym.same_tool(mine, theirs):
        return _other_tool(actual, expected)
    if theirs.category not in (READ, SEARCH, EDIT):
        return _other_step(mine, theirs, options)
    verdict = _file_step(mine, theirs, options)
    if verdict.reward < 1.0 or (actual.category == expected.category != BASH):
        return verdict
    return replace(verdict, used=tuple(sorted({*verdict.used, "across_tools"})))


def _other_tool(actual: Step, expected: Step) -> Verdict:
    return reject("name_mismatch", detail=f"{actual.name[:40]!r}, not {expected.name[:40]!r}")


def _file_step(actual: Step, expected: Step, options: SweOptions) -> Verdict:
    if actual.kind != expected.kind and {actual.kind, expected.kind} <= swe_effect.CONTENT:
        return _differs("query", f"{actual.kind} {actual.query}", f"{expected.kind} {expected.query}")
    if actual.kind != expected.kind:
        return reject("target_mismatch", "sub_command" if expected.category == EDIT else "kind")
    if not swe_effect.same_path(actual.path, expected.path):
        return reject("target_mismatch", "path")
    path = ("path_form",) if actual.path != expected.path else ()
    if expected.category == READ:
        if not _views(actual, expected, options):
            return reject("target_mismatch", "lines")
        return Verdict(1.0, "match", used=(*path, *(("view_range",) if actual.lines != expected.lines else ())))
    if expected.category == SEARCH:
        same = actual.query == expected.query
        return Verdict(1.0, "match", used=path) if same else _differs("query", actual.query, expected.query)
    if expected.kind in (LINES, INSERT) and actual.lines != expected.lines:
        return reject("target_mismatch", "place")
    if actual.old == expected.old and actual.new == expected.new:
        # Without texts the arguments are of a form that is not read, or there is nothing to write.
        known = expected.old or expected.new or expected.kind not in (REPLACE, LINES, INSERT)
        if known or actual.arguments == expected.arguments:
            return Verdict(1.0, "match", used=path)
        return _differs("edit", actual.arguments, expected.arguments)
    likeness = swe_effect.change_likeness(actual, expected)
    if likeness < options.full:
        return Verdict(0.0, "differs:edit", f"likeness {likeness!r}", status=UNDECIDED)
    return Verdict(1.0, "match", f"likeness {likeness!r}", used=(*path, "edit_likeness"))


def _views(actual: Step, expected: Step, options: SweOptions) -> bool:
    """Enough of what the expert sees, and not so much more that any view would do."""
    mine, theirs = actual.lines or (1.0, math.inf), expected.lines or (1.0, math.inf)
    if mine == theirs:
        return True
    if not swe_gym.covers(mine, theirs, options.cover):
        return False
    if math.isinf(theirs[1]):
        return theirs[0] - mine[0] <= _OPEN_END * (options.excess - 1.0)
    return mine[1] - mine[0] + 1 <= options.excess * (theirs[1] - theirs[0] + 1)


def _other_step(actual: Step, expected: Step, options: SweOptions) -> Verdict:
    category = expected.category
    if category == BASH:
        return _differs("command", actual.command, expected.command)
    if actual.arguments == expected.arguments:
        return MATCH
    if category == FINISH and not any(key in step.arguments for step in (actual, expected) for key in _RESULT_KEYS):
        return Verdict(1.0, "match", used=("farewell",))
    if category in (THINK, PLANNING) and similarity(actual.arguments, expected.arguments) >= options.prose:
        return Verdict(1.0, "match", used=("prose",))
    what = {FINISH: "result", THINK: "thought", PLANNING: "plan"}.get(category, "arguments")
    return _differs(what, actual.arguments, expected.arguments)


def _differs(what: str, given: str, wanted: str) -> Verdict:
    """Not the same by these rules; a judge may know better."""
    return Verdict(0.0, f"differs:{what}", f"{given[:80]!r} instead of {wanted[:80]!r}", status=UNDECIDED)
