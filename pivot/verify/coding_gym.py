"""NeMo-Gym's comparison of coding agents' steps: category, then target, then similarity of the arguments."""

from dataclasses import dataclass

from pivot.verify import ratio
from pivot.verify.coding_paths import command_paths, components, same_end
from pivot.verify.coding_tools import BASH, EDIT, UNKNOWN, Step, values_text
from pivot.verify.ratio import Ratio
from pivot.verify.types import MATCH, Verdict, reject

_EDIT_DEPTH, _DEPTH = 2, 3
_LONGEST = 2000
_COVERAGE = 0.8
_BASH_FLOOR = 0.3
_SHAPED, _SHAPE_LENGTH = 0.1, 500


@dataclass(frozen=True, slots=True)
class Credit:
    """What a similarity earns; `SweOptions` says what the switches mean."""

    full: float
    partial: float
    continuous: bool

    def __post_init__(self) -> None:
        if not 0.0 <= self.partial < self.full <= 1.0:
            raise ValueError("partial and full must be from 0 to 1, partial below full")


def gym_reward(actual: Step, expected: Step, credit: Credit) -> Verdict:
    """The verdict on a step.

    Reasons: `match`, `partial`, `category_mismatch`, `operation_mismatch`, `path_mismatch`, `lines_mismatch`,
    `no_command`, `verb_mismatch`, `bash_floor`, `not_alike`, `too_costly`.
    """
    if actual.category != expected.category or (expected.category == UNKNOWN and actual.name != expected.name):
        return reject("category_mismatch", actual.category or "unknown")
    return _target(actual, expected) or _earned(actual, expected, credit)


def _target(actual: Step, expected: Step) -> Verdict | None:
    if expected.category == BASH:
        return _bash_target(actual.command, expected.command)
    if actual.operation != expected.operation:
        return reject("operation_mismatch", actual.operation)
    depth = _EDIT_DEPTH if expected.category == EDIT else _DEPTH
    mine, theirs = (None if step.path is None else components(step.path)[-depth:] for step in (actual, expected))
    if mine != theirs:
        return reject("path_mismatch")
    if actual.lines is None or actual.lines == expected.lines or actual.new is not None:
        return None
    if expected.lines is None or actual.lines.coverage(expected.lines) < _COVERAGE:
        return reject("lines_mismatch")
    return None


def verb(command: str) -> str:
    """A command's first word that is no assignment."""
    for word in command[:_LONGEST].split():
        name, is_assignment, _ = word.partition("=")
        if not is_assignment or not name.isidentifier():
            return word
    return ""


def _bash_target(actual: str | None, expected: str | None) -> Verdict | None:
    if actual is None or expected is None:
        return None if actual == expected else reject("no_command")
    if verb(actual) != verb(expected):
        return reject("verb_mismatch", verb(actual))
    wanted = {path[-_DEPTH:] for path in command_paths(expected[:_LONGEST])}
    given = {path[-_DEPTH:] for path in command_paths(actual[:_LONGEST])}
    if wanted and not any(same_end(mine, theirs) for mine in given for theirs in wanted):
        return reject("path_mismatch")
    return None


def _earned(actual: Step, expected: Step, credit: Credit) -> Verdict:
    alike = _similarity(actual, expected)
    if expected.category == BASH and alike.value < _BASH_FLOOR:
        return reject("bash_floor", detail=f"{alike.value:.3f}")
    if alike.value >= credit.full and alike.exact:
        reward = 1.0
    elif not credit.continuous or alike.value < credit.partial:
        return reject("not_alike" if alike.exact or alike.value < credit.full else "too_costly", detail=f"{alike.value:.3f}")
    elif not alike.exact:
        return reject("too_costly", detail=f"at most {alike.value:.3f}")
    else:
        reward = 0.5 + 0.5 * (alike.value - credit.partial) / (credit.full - credit.partial)
    if credit.continuous and actual.new is not None:
        reward *= 1.0 - _SHAPED * min(len(actual.new) / _SHAPE_LENGTH, 1.0)
    return MATCH if reward == 1.0 else Verdict(reward, "match" if alike.value >= credit.full else "partial")


def _similarity(actual: Step, expected: Step) -> Ratio:
    if expected.category == BASH:
        return _ratio(actual.command or "", expected.command or "", ratio.BUDGET)
    if expected.old is not None or expected.new is not None:
        half = ratio.BUDGET // 2
        both = [
            _ratio(mine or "", theirs or "", half)
            for mine, theirs in ((actual.old, expected.old), (actual.new, expected.new))
        ]
        return min(both, key=lambda found: found.value)
    return _ratio(values_text(actual.arguments, _LONGEST), values_text(expected.arguments, _LONGEST), ratio.BUDGET)


def _ratio(actual: str, expected: str, budget: int) -> Ratio:
    return ratio.ratio(expected[:_LONGEST], actual[:_LONGEST], budget)
