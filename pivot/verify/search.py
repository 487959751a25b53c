"""Browsing agents, as in BrowseComp: would this search, this page, this answer do what the expert's did?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from pivot.trajectory.strict_json import BadJson, decode_object
from pivot.trajectory.types import Action, ToolCall
from pivot.verify.matching import DIFFERENT, EQUAL, IDENTICAL, match
from pivot.verify.search_texts import marked_answer, same_answer, same_pattern, same_query
from pivot.verify.search_tools import ANSWER, FIND, OPEN, OTHER, SEARCH, Step, read_step
from pivot.verify.swe_tools import bare_name
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject
from pivot.verify.urls import URL_SWITCHES, canonical_url

_LONGEST = 100_000
_MOST_STEPS, _MOST_QUERIES = 32, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Switches of `search`. Every one is symmetric.

    Attributes:
        query_overlap: Least overlap of words, at most 1, at which a query that only says more is the same; 1 asks for
            the same words.
        query_stop_words: Words of questions do not count.
        query_quotes: Quotes around a phrase do not count.
        tool_names: Tools of one kind under different names are one, unless both are on offer.
        url_scheme: http is https.
        url_www: www in front of a host.
        url_slash: A slash or an index page at the end.
        url_fragment: Where in a page.
        url_tracking: Parameters that only say how one came there.
        answer_facts: An answer with the same numbers, dates and ids, of which one only uses more words, is the same.
    """

    query_overlap: float = 0.75
    query_stop_words: bool = True
    query_quotes: bool = True
    tool_names: bool = True
    url_scheme: bool = True
    url_www: bool = True
    url_slash: bool = True
    url_fragment: bool = True
    url_tracking: bool = True
    answer_facts: bool = True

    def __post_init__(self) -> None:
        if not 0.0 < self.query_overlap <= 1.0:
            raise ValueError("query_overlap must be above 0 and at most 1")

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(item.name for item in fields(SearchOptions) if getattr(self, item.name) is True)


Used = set[str] | None


def search(options: SearchOptions) -> Decide:
    """The verifier under some options.

    Queries of all searches of an action count together, as a multiset; other steps are matched one to one.

    Reasons: `match`; decided zeros `malformed:why`, `unreadable:why`, `kind_mismatch:message|call`, `step_mismatch`
    (other kinds of steps, or another number), `target_mismatch:page|place`; undecided ones `expected_unreadable:why`,
    `too_long`, `other_message`, `differs:query|pattern|answer|arguments`.
    """
    on = options.on()

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if actual == expected:
            return MATCH
        if not expected.calls:
            return _expected_message(actual, expected, on)
        if not actual.calls:
            return reject("kind_mismatch", "message")
        if _too_long(actual.calls) or _too_long(expected.calls):
            return Verdict(0.0, "too_long", status=UNDECIDED)
        try:
            wanted = _read(expected.calls)
        except BadJson as error:
            return Verdict(0.0, f"expected_unreadable:{error.reason}", status=UNDECIDED)
        try:
            given = _read(actual.calls)
        except BadJson as error:
            return reject("unreadable", error.reason)
        return _Steps(context, options, on).compare(given, wanted)

    return decide


def _too_long(calls: Sequence[ToolCall]) -> bool:
    return len(calls) > _MOST_STEPS or sum(len(call.arguments) for call in calls) > _LONGEST


def _read(calls: Sequence[ToolCall]) -> list[Step]:
    return [
        read_step(call.name, decode_object(call.arguments if call.arguments.strip() else "{}")) for call in calls
    ]  # fmt: skip


def _expected_message(actual: Action, expected: Action, on: frozenset[str]) -> Verdict:
    if actual.calls:
        return reject("kind_mismatch", "call")
    mine, theirs = ((action.content or "").strip() for action in (actual, expected))
    if mine == theirs:
        return MATCH
    answers = marked_answer(mine), marked_answer(theirs)
    if answers[0] is None or answers[1] is None:
        return Verdict(0.0, "other_message", status=UNDECIDED)
    used = _allowed(same_answer(answers[0], answers[1]), on)
    return _verdict(used, "answer", answers[0], answers[1])


def _allowed(used: tuple[str, ...] | None, on: frozenset[str]) -> Used:
    return None if used is None or ("answer_facts" in used and "answer_facts" not in on) else set(used)


def _verdict(used: Used, what: str, given: str, wanted: str) -> Verdict:
    if used is not None:
        return Verdict(1.0, "match", used=tuple(sorted(used)))
    return Verdict(0.0, f"differs:{what}", f"{given[:80]!r} instead of {wanted[:80]!r}", status=UNDECIDED)


class _Steps:
    """The comparison of two lists of steps."""

    def __init__(self, context: Context, options: SearchOptions, on: frozenset[str]) -> None:
        self._options, self._on = options, on
        functions = (tool.get("function") for tool in context.tools)
        self._offered = {
            bare_name(f["name"]) for f in functions if isinstance(f, Mapping) and isinstance(f.get("name"), str)
        }

    def compare(self, given: Sequence[Step], wanted: Sequence[Step]) -> Verdict:
        kinds = [sorted({step.category for step in steps}) for steps in (given, wanted)]
        others = [[step for step in steps if step.category != SEARCH] for steps in (given, wanted)]
        if kinds[0] != kinds[1] or len(others[0]) != len(others[1]):
            return reject("step_mismatch", detail=f"{', '.join(kinds[0])} instead of {', '.join(kinds[1])}"[:120])
        used = self._queries(given, wanted)
        if isinstance(used, Verdict):
            return used
        found = (
            match(len(others[0]), len(others[1]), lambda i, j: self._likeness(others[0][i], others[1][j]))
            if others[0]
            else []
        )
        missing = next((j for j, i in enumerate(found) if i < 0), None)
        if missing is not None:
            spare = next(i for i in range(len(others[0])) if i not in found)
            return self._explain(others[0][spare], others[1][missing])
        for j, i in enumerate(found):
            used |= self._step(others[0][i], others[1][j]) or set()
        return Verdict(1.0, "match", used=tuple(sorted(used)))

    def _queries(self, given: Sequence[Step], wanted: Sequence[Step]) -> set[str] | Verdict:
        """The switches under which the queries of both are the same multiset."""
        mine, theirs = ([(step.name, q) for step in steps for q in step.queries] for steps in (given, wanted))
        if len(mine) != len(theirs) or len(mine) > _MOST_QUERIES:
            return reject("step_mismatch", detail=f"{len(mine)} queries instead of {len(theirs)}")
        if not mine:
            return set()
        compared: dict[tuple[int, int], Used] = {}

        def likeness(i: int, j: int) -> int:
            compared[i, j] = self._query(mine[i], theirs[j])
            return DIFFERENT if compared[i, j] is None else EQUAL if compared[i, j] else IDENTICAL

        found = match(len(mine), len(theirs), likeness)
        if -1 in found:
            spare = next(i for i in range(len(mine)) if i not in found)
            return _verdict(None, "query", mine[spare][1], theirs[found.index(-1)][1])
        return set().union(*(compared[i, j] or set() for j, i in enumerate(found)))

    def _query(self, mine: tuple[str, str], theirs: tuple[str, str]) -> Used:
        tools = self._tools(mine[0], theirs[0])
        needed = same_query(mine[1], theirs[1], self._options.query_overlap, self._on)
        return None if needed is None or tools is None else tools | set(needed)

    def _tools(self, mine: str, theirs: str) -> Used:
        """Whether two tools of one kind are one."""
        if mine == theirs:
            return set()
        return {"tool_names"} if "tool_names" in self._on and not {mine, theirs} <= self._offered else None

    def _likeness(self, mine: Step, theirs: Step) -> int:
        used = self._step(mine, theirs)
        return DIFFERENT if used is None else EQUAL if used else IDENTICAL

    def _step(self, mine: Step, theirs: Step) -> Used:
        if mine.category != theirs.category:
            return None
        if mine.category == OTHER:
            return set() if mine.name == theirs.name and mine.arguments == theirs.arguments else None
        tools = self._tools(mine.name, theirs.name)
        if tools is None:
            return None
        if mine.category == ANSWER:
            answer = _allowed(same_answer(mine.answer, theirs.answer), self._on)
            return None if answer is None else tools | answer
        pages = self._pages(mine, theirs)
        if pages is None or mine.places != theirs.places:
            return None
        if mine.category == FIND and mine.pattern != theirs.pattern:
            return tools | pages | {"pattern_form"} if same_pattern(mine.pattern, theirs.pattern) else None
        return tools | pages

    def _pages(self, mine: Step, theirs: Step) -> Used:
        """The switches under which the same pages are meant, in any order."""
        if sorted(mine.documents) != sorted(theirs.documents) or len(mine.urls) != len(theirs.urls):
            return None
        sides = [sorted(urls) for urls in (mine.urls, theirs.urls)]
        needed = set(URL_SWITCHES & self._on)
        if sides[0] == sides[1]:
            return set()
        if not self._same_urls(mine.urls, theirs.urls, needed):
            return None
        for switch in sorted(needed):
            if self._same_urls(mine.urls, theirs.urls, needed - {switch}):
                needed.remove(switch)
        return needed or {"url_form"}

    @staticmethod
    def _same_urls(mine: Sequence[str], theirs: Sequence[str], on: set[str]) -> bool:
        return sorted(canonical_url(url, on) or url for url in mine) == sorted(
            canonical_url(url, on) or url for url in theirs
        )

    def _explain(self, mine: Step, theirs: Step) -> Verdict:
        if mine.category == theirs.category == ANSWER:
            return _verdict(None, "answer", mine.answer, theirs.answer)
        if mine.category == theirs.category and mine.category in (OPEN, FIND):
            if self._pages(mine, theirs) is None:
                return reject("target_mismatch", "page")
            if mine.places != theirs.places:
                return reject("target_mismatch", "place")
            if mine.category == FIND:
                return _verdict(None, "pattern", mine.pattern, theirs.pattern)
        return _verdict(None, "arguments", str(dict(mine.arguments)), str(dict(theirs.arguments)))
