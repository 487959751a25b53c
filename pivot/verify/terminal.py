"""Turns at a terminal: would these keystrokes do what the expert's do?

`gym` is NeMo-Gym's rule, the likeness of the strings; `shell`, our default, compares commands on their parse trees.
At a likeness of 0.95 any one flag of a line of forty characters may differ, so `shell` asks for equality instead.
Where neither finds two turns equal, a judge may know better.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pivot.trajectory.types import Action
from pivot.verify.ratio import ratio
from pivot.verify.shell import ShellRelaxations, equivalent
from pivot.verify.terminus import BadTurn, Turn, read_turn
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

GYM, GYM_STRING, SHELL = "gym", "gym_string", "shell"
# What tmux takes for one key where it is all that a command types, and single letters, as a pager wants them.
_KEY = re.compile(
    r"(?:C|M|S)-.|Escape|Tab|BTab|BSpace|Space|Up|Down|Left|Right|Home|End|PageUp|PageDown|PgUp|PgDn|Delete|Insert"
    r"|F[0-9]{1,2}|[ -~]"
)
_ENTER = frozenset(("Enter", "C-m", "C-j"))
# After these a shell reads what comes next; after others it may be an editor.
_BACK_TO_SHELL = frozenset(("C-c", "C-d", "C-z", "C-l", "C-u", "q"))
_MOST_ENTRIES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalOptions(ShellRelaxations):
    """Switches of `terminal`; those of `ShellRelaxations` are for `shell`.

    Attributes:
        shell: Whether commands with the same parse tree, up to the switches, are equal.
        similarity: Least ratio of difflib's SequenceMatcher over the concatenated keystrokes at which turns are equal
            without being the same; 1 asks for the same text.
        early_completion: Calling the task done where the expert does not is no difference.
        text_around: Text before and behind the JSON object is ignored.
    """

    shell: bool = True
    similarity: float = 1.0
    early_completion: bool = False
    text_around: bool = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.similarity <= 1.0:
            raise ValueError("similarity must be from 0 to 1")


_AS_THERE = TerminalOptions(shell=False, similarity=0.95, early_completion=True, text_around=False)
PRESETS = {
    SHELL: TerminalOptions(),
    GYM: _AS_THERE,
    GYM_STRING: TerminalOptions(shell=False, similarity=0.9, early_completion=True, text_around=False),
}


def terminal(options: TerminalOptions) -> Decide:
    """The verifier under some options.

    Reasons: `match`; decided zeros `malformed:why`, `kind_mismatch:call`, `unreadable:why` (no JSON, or not of
    the schema that the expert's turn has), `not_complete`, `complete_too_early`; undecided ones `keystrokes_differ`
    (its detail is `similarity` with the ratio), `too_long` and `expected_unreadable:why`.
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        try:
            wanted = read_turn(expected, None, options.text_around)
        except BadTurn as error:
            if actual == expected and options.shell:
                return MATCH
            return Verdict(0.0, f"expected_unreadable:{error.reason}", status=UNDECIDED)
        try:
            given = read_turn(actual, wanted.harness, options.text_around)
        except BadTurn as error:
            return reject("kind_mismatch", "call") if actual.calls else reject("unreadable", error.reason)
        if wanted.complete and not given.complete:
            return reject("not_complete")
        if given.complete and not wanted.complete and not options.early_completion:
            return reject("complete_too_early")
        return _compare(given, wanted, options)

    return decide


def _compare(given: Turn, wanted: Turn, options: TerminalOptions) -> Verdict:
    if given.keystrokes == wanted.keystrokes and (not options.shell or _named_keys(given) == _named_keys(wanted)):
        return MATCH
    if options.shell and (used := _same_keys(given.entries, wanted.entries, options)) is not None:
        return Verdict(1.0, "match", used=used)
    if options.similarity == 1.0:
        return Verdict(0.0, "keystrokes_differ", status=UNDECIDED)
    alike = ratio(wanted.keystrokes, given.keystrokes)
    if alike.value >= options.similarity and not alike.exact:
        return Verdict(0.0, "too_long", f"similarity at most {alike.value!r}", status=UNDECIDED)
    if alike.value >= options.similarity:
        return Verdict(1.0, "match", f"similarity {alike.value!r}", used=("similarity",))
    bound = "" if alike.exact else "at most "
    return Verdict(0.0, "keystrokes_differ", f"similarity {bound}{alike.value!r}", status=UNDECIDED)


def _named_keys(turn: Turn) -> list[str]:
    """`C-c` is one key where a command types nothing else, and three letters elsewhere."""
    return [entry for entry in turn.entries if len(entry) > 1 and _KEY.fullmatch(entry)]


def _same_keys(given: Sequence[str], wanted: Sequence[str], options: TerminalOptions) -> tuple[str, ...] | None:
    """The switches that make two sequences of keystrokes equal: single keys are the same, texts are equivalent."""
    if max(len(given), len(wanted)) > _MOST_ENTRIES:
        return None
    sides = list(_chunks(given)), list(_chunks(wanted))
    if [is_key for is_key, _ in sides[0]] != [is_key for is_key, _ in sides[1]]:
        return None
    used: set[str] = set()
    at_prompt = True
    for (is_key, mine), (_, theirs) in zip(*sides, strict=True):
        if mine == theirs:
            at_prompt = not is_key or mine in _BACK_TO_SHELL
            continue
        needed = equivalent(mine, theirs, options, typed=True) if at_prompt and not is_key else None
        if needed is None:
            return None
        used |= set(needed)
    return tuple(sorted(used))


def _chunks(entries: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Single keys, and texts of the commands between them: how a text was cut into commands does not count."""
    read = [(_KEY.fullmatch(entry) is not None and entry not in _ENTER, entry) for entry in entries if entry]
    for is_key, run in groupby(read, key=lambda item: item[0]):
        texts = ["\n" if entry in _ENTER else entry for _, entry in run]
        if is_key:
            yield from ((True, text) for text in texts)
        else:
            yield False, "".join(texts)
