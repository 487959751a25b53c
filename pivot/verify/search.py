"""Browsing agents, as in BrowseComp: would this search, this page, this answer do what the expert's did?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import Action, ToolCall
from pivot.verify.matching import DIFFERENT, EQUAL, IDENTICAL, match
from pivot.verify.search_texts import same_answer, same_goal, same_pattern, same_query
from pivot.verify.search_tools import ANSWER, FIND, OPEN, OTHER, SEARCH, Step, defaults_of, marked_answer, read_step
from pivot.verify.types import DECIDED, MATCH, UNDECIDED, Context, Decide, Verdict, reject
from pivot.verify.urls import canonical_url

_LONGEST = 50_000
_MOST_STEPS, _MOST_PARTS = 32, 16
_On = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Switches of `search`. Every one is symmetric; what makes two steps different never depends on one.

    Attributes:
        query_overlap: Least overlap of words, at most 1, at which a query that only says more is the same; 1 asks for
            the same words.
        query_words: Order, inflection, accents and British or American spelling of a query's words.
        query_stop_words: Words of questions do not count.
        query_quotes: Quotes around a phrase do not count.
        query_questions: `how tall is` asks for the `height`, `who directed` for the `director`.
        query_initials: An acronym stands for the words that it is made of.
        number_words: Number words, ordinals and Roman numerals behind a word are numbers.
        text_case: Case of queries, patterns and answers.
        tool_names: Tools of one kind under different names are one, unless one of them is on offer.
        url_scheme: http is https.
        url_www: www or m in front of a host.
        url_slash: A slash or an index page at the end.
        url_fragment: Where in a page.
        url_tracking: Parameters that only say how one came there.
        page_goal: Wording of what a page is opened for, as long as both have a word in common.
        window_overlap: Least share of the longer one that two windows of lines share; 1 asks for the same window.
        answer_facts: An answer with the same numbers, dates and ids, of which one only uses more words, is the same.
        open_answers: Marked answers in messages that differ are undecided: for a judge behind this verifier. One of
            messages would take `Paul and Edda Reinholt` for `Paul Reinholt`.
    """

    query_overlap: float = 0.75
    query_words: bool = True
    query_stop_words: bool = True
    query_quotes: bool = True
    query_questions: bool = True
    query_initials: bool = True
    number_words: bool = True
    text_case: bool = True
    tool_names: bool = True
    url_scheme: bool = True
    url_www: bool = True
    url_slash: bool = True
    url_fragment: bool = True
    url_tracking: bool = True
    page_goal: bool = True
    window_overlap: float = 0.75
    answer_facts: bool = True
    open_answers: bool = False

    def __post_init__(self) -> None:
        for name, least in (("query_overlap", self.query_overlap), ("window_overlap", self.window_overlap)):
            if not 0.0 < least <= 1.0:
                raise ValueError(f"{name} must be above 0 and at most 1")

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        flags = {item.name for item in fields(SearchOptions) if getattr(self, item.name) is True}
        shares = {"query_overlap": self.query_overlap, "window_overlap": self.window_overlap}
        return frozenset(flags | {name for name, least in shares.items() if least < 1.0})


def search(options: SearchOptions) -> Decide:
    """The verifier under some options.

    Queries of all searches of an action count together, as a multiset; other steps are matched one to one.

    Reasons: `match`; decided zeros `malformed:why`, `unreadable:why`, `kind_mismatch:message|call`, `step_mismatch`
    (other kinds of steps, or another number), `target_mismatch:page|place`; undecided ones `expected_unreadable:why`,
    `too_long`, `other_message`, `differs:query|pattern|goal|answer|arguments` (of marked answers in messages decided).
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if actual == expected:
            return MATCH
        if not expected.calls:
            return _expected_message(actual, expected, options)
        if not actual.calls:
            return reject("kind_mismatch", "message")
        if _too_long(actual.calls) or _too_long(expected.calls):
            return Verdict(0.0, "too_long", status=UNDECIDED)
        compare = _Steps(context, options)
        try:
            wanted = compare.read(expected.calls)
        except BadJson as error:
            return Verdict(0.0, f"expected_unreadable:{error.reason}", status=UNDECIDED)
        try:
            given = compare.read(actual.calls)
        except BadJson as error:
            return reject("unreadable", error.reason)
        return compare.verdict(given, wanted)

    return decide


def _too_long(calls: Sequence[ToolCall]) -> bool:
    return len(calls) > _MOST_STEPS or sum(len(call.arguments) for call in calls) > _LONGEST


def _expected_message(actual: Action, expected: Action, options: SearchOptions) -> Verdict:
    if actual.calls:
        return reject("kind_mismatch", "call")
    mine, theirs = ((action.content or "").strip() for action in (actual, expected))
    if mine == theirs:
        return MATCH
    given, wanted = marked_answer(mine), marked_answer(theirs)
    if given is None or wanted is None:
        return Verdict(0.0, "other_message", status=UNDECIDED)
    on = options.on()
    if not same_answer(given, wanted, on):
        found = _differs("answer", given, wanted)
        return found if options.open_answers else replace(found, status=DECIDED)
    return Verdict(1.0, "match", used=_needed(lambda some: same_answer(given, wanted, some), on))


def _differs(what: str, given: str, wanted: str) -> Verdict:
    return Verdict(0.0, f"differs:{what}", f"{given[:80]!r} instead of {wanted[:80]!r}", status=UNDECIDED)


def _needed(same: Callable[[_On], bool], on: _On) -> tuple[str, ...]:
    """Of the switches under which `same` holds those without any of which it does not; sorted."""
    before: _On = frozenset()
    while on != before:
        before = on
        for name in sorted(on):
            on = on - {name} if same(on - {name}) else on
    return tuple(sorted(on))


class _Steps:
    """The comparison of two lists of steps."""

    def __init__(self, context: Context, options: SearchOptions) -> None:
        self._options, self._on = options, options.on()
        self._defaults = defaults_of(context.tools)

    def read(self, calls: Sequence[ToolCall]) -> list[Step]:
        """The steps that calls are; raises `BadJson`."""
        return [
            read_step(call.name, decode_object(call.arguments if call.arguments.strip() else "{}"), self._defaults)
            for call in calls
        ]

    def verdict(self, given: Sequence[Step], wanted: Sequence[Step]) -> Verdict:
        kinds = [sorted({step.category for step in steps}) for steps in (given, wanted)]
        mine, theirs = (_parts(steps) for steps in (given, wanted))
        if kinds[0] != kinds[1] or len(mine) != len(theirs):
            detail = f"{len(mine)}: {', '.join(kinds[0])} instead of {len(theirs)}: {', '.join(kinds[1])}"
            return reject("step_mismatch", detail=detail)
        if len(mine) > _MOST_PARTS:
            return Verdict(0.0, "too_long", status=UNDECIDED)

        def likeness(i: int, j: int) -> int:
            if mine[i] == theirs[j]:
                return IDENTICAL
            return EQUAL if self._same(mine[i], theirs[j], self._on) else DIFFERENT

        found = match(len(mine), len(theirs), likeness)
        if -1 in found:
            missing = theirs[found.index(-1)]
            spare = [step for i, step in enumerate(mine) if i not in found]
            return self._explain(next((step for step in spare if step.category == missing.category), spare[0]), missing)
        used: set[str] = set()
        for j, i in enumerate(found):
            one, other = mine[i], theirs[j]
            used.update(self._used(one, other))
        return Verdict(1.0, "match", used=tuple(sorted(used)))

    def _used(self, mine: Step, theirs: Step) -> tuple[str, ...]:
        return () if mine == theirs else _needed(lambda on: self._same(mine, theirs, on), self._on)

    def _same(self, mine: Step, theirs: Step, on: _On) -> bool:
        """Whether two steps, a search with one query each, do the same."""
        if mine.category != theirs.category or mine.rest != theirs.rest:
            return False
        if mine.name != theirs.name and not ("tool_names" in on and self._are_one_tool(mine, theirs)):
            return False
        return (
            _same_pages(mine, theirs, on)
            and self._same_place(mine, theirs, on)
            and all(
                same_query(*pair, self._options.query_overlap, on)
                for pair in zip(mine.queries, theirs.queries, strict=True)
            )
            and _same_text(mine, theirs, on)
        )

    def _are_one_tool(self, mine: Step, theirs: Step) -> bool:
        """Tools of a known kind, of which none is on offer: one that is would answer, the other with an error."""
        return mine.category != OTHER and self._defaults.keys().isdisjoint((mine.name, theirs.name))

    def _same_place(self, mine: Step, theirs: Step, on: _On) -> bool:
        if mine.places == theirs.places:
            return True
        if "window_overlap" not in on or mine.window is None or theirs.window is None:
            return False
        shared = min(map(sum, (mine.window, theirs.window))) - max(mine.window[0], theirs.window[0])
        longest = max(mine.window[1], theirs.window[1])
        return mine.unplaced() == theirs.unplaced() and shared >= self._options.window_overlap * longest

    def _explain(self, mine: Step, theirs: Step) -> Verdict:
        if mine.category == theirs.category and mine.rest == theirs.rest and mine.name == theirs.name:
            if not _same_pages(mine, theirs, self._on):
                return reject("target_mismatch", "page")
            if not self._same_place(mine, theirs, self._on):
                return reject("target_mismatch", "place")
            if mine.category == SEARCH:
                return _differs("query", " ".join(mine.queries), " ".join(theirs.queries))
            if mine.category in _TEXT:
                return _differs(_TEXT[mine.category], mine.text, theirs.text)
        return _differs("arguments", f"{mine.name} {mine.rest}", f"{theirs.name} {theirs.rest}")


_TEXT = {OPEN: "goal", FIND: "pattern", ANSWER: "answer"}


def _parts(steps: Sequence[Step]) -> list[Step]:
    """The steps, with a search of several queries as several searches."""
    return [
        part
        for step in steps
        for part in ([replace(step, queries=(query,)) for query in step.queries] or [step])
    ]  # fmt: skip


def _same_text(mine: Step, theirs: Step, on: _On) -> bool:
    if mine.text == theirs.text:
        return True
    compare = {OPEN: same_goal, FIND: same_pattern, ANSWER: same_answer}
    return mine.category in compare and compare[mine.category](mine.text, theirs.text, on)


def _same_pages(mine: Step, theirs: Step, on: _On) -> bool:
    """Whether the same pages are meant, in any order; evidence may be quoted in other words."""
    sides = [sorted(canonical_url(url, on) or url for url in step.urls) for step in (mine, theirs)]
    documents = [sorted(step.documents) for step in (mine, theirs)]
    if sides[0] != sides[1] or len(documents[0]) != len(documents[1]):
        return False
    if documents[0] == documents[1]:
        return True
    return mine.category == ANSWER and all(
        " " in one.strip() and " " in other.strip() and same_answer(one, other, on)
        for one, other in zip(*documents, strict=True)
    )
