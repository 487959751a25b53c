"""Browsing agents, as in BrowseComp: would this step find what the expert's did?

Steps are searches, pages opened, texts found in a page, evidence and answers. A tool of another kind, and a message
without a marked answer, are left to another verifier.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from pivot.trajectory.strict_json import BadJson
from pivot.trajectory.types import Action, ToolCall
from pivot.verify.browse_queries import same_answer, same_phrase, same_query
from pivot.verify.browse_steps import ANSWER, EVIDENCE, FIND, OPEN, SEARCH, Step, corpus_of, kind_of, read_call
from pivot.verify.browse_urls import same_address
from pivot.verify.matching import DIFFERENT, EQUAL, IDENTICAL, match
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

_LONGEST = 100_000
_LONGEST_TEXT = 50_000
_MOST_CALLS = 16
_MARKED = re.compile(
    r"(?im)^[ \t*#>-]{0,8}(?:exact|final) answer[ \t*]{0,4}:[ \t*]{0,4}(\S[^\n]{0,400})|<answer>([^<]{1,400})</answer>"
    r"|\\boxed\{([^{}]{1,400})\}"
)
_CLOSED_THOUGHT = "</think>"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """In what equal steps may differ. Every switch is symmetric.

    Attributes:
        tool_names: Another tool of the same kind: `visit` is `open_url`.
        query_words: The case, order, accents, quotes and punctuation of a query's words, and its stop words.
        word_forms: Endings: `winners` is `winner`.
        query_overlap: Least overlap of queries' words, twice the shared ones by all; 1 for the same words. Numbers,
            capitalised names, operators and opposites must agree anyway.
        result_count: How many results are asked for.
        url_scheme: http is https.
        url_www: www.example.org is example.org.
        url_slash: A slash at the end of a path.
        url_port: The scheme's own port.
        url_fragment: A fragment that names a place in a page; not `#/…` or `#!…`.
        url_tracking: Parameters that only say where a reader came from.
        url_order: The order of parameters.
        window_overlap: Least share of the longer of two windows of lines that both show.
        remarks: Goals, reasons and confidences beside what is looked for.
        answer_form: Case, articles, punctuation and date forms of an answer, and "The answer is".
        answer_qualifier: `Oslo` is `Oslo, Norway`.
        answer_prose: Long answers with the same facts.
        answer_overlap: Least overlap of the words of long answers.
    """

    tool_names: bool = True
    query_words: bool = True
    word_forms: bool = True
    query_overlap: float = 0.8
    result_count: bool = True
    url_scheme: bool = True
    url_www: bool = True
    url_slash: bool = True
    url_port: bool = True
    url_fragment: bool = True
    url_tracking: bool = True
    url_order: bool = True
    window_overlap: float = 0.6
    remarks: bool = True
    answer_form: bool = True
    answer_qualifier: bool = True
    answer_prose: bool = True
    answer_overlap: float = 0.6

    def __post_init__(self) -> None:
        for name in ("query_overlap", "window_overlap", "answer_overlap"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be above 0 and up to 1")

    def on(self) -> frozenset[str]:
        """Names of the switches that are on."""
        return frozenset(item.name for item in fields(SearchOptions) if getattr(self, item.name) is True)


PRESETS = {
    "strict": SearchOptions(query_overlap=1.0, word_forms=False, answer_qualifier=False, answer_prose=False),
}


def search(options: SearchOptions) -> Decide:
    """The verifier under some options.

    Reasons: `match`, `malformed:why`, `expected_unreadable:why`, `arguments_unreadable:why`,
    `kind_mismatch:message|call`, `call_count`, `too_many_calls`, `too_long`, `step_mismatch:kind`, `tool_mismatch`,
    `target_mismatch`, `page_mismatch`, `window_mismatch`, `arguments_mismatch`, `phrase_mismatch`, `answer_mismatch`,
    `evidence_mismatch`, and those of `same_query`; undecided ones `unknown_tool`, `other_message`.
    """
    steps = _Steps(options)

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if expected.malformed is not None:
            return reject("expected_unreadable", expected.malformed)
        if not expected.calls:
            if actual.calls:
                return reject("kind_mismatch", "call")
            return _messages(actual.content or "", expected.content or "", options)
        if not actual.calls:
            return reject("kind_mismatch", "message")
        return _calls(actual.calls, expected.calls, steps)

    return decide


def _messages(actual: str, expected: str, options: SearchOptions) -> Verdict:
    """Marked answers are compared; other messages are for a verifier of messages."""
    if actual.strip() and actual.strip() == expected.strip():
        return MATCH
    wanted = marked_answer(expected)
    if wanted is None:
        return Verdict(0.0, "other_message", status=UNDECIDED)
    given = marked_answer(actual)
    found = None if given is None else same_answer(given, wanted, options.on(), options.answer_overlap)
    return reject("answer_mismatch") if found is None else Verdict(1.0, "match", used=found)


def marked_answer(text: str) -> str | None:
    """The answer that a text marks as such, the last one; None where there is none."""
    visible = text[-_LONGEST_TEXT:].rpartition(_CLOSED_THOUGHT)[2]
    answer = None
    for found in _MARKED.finditer(visible):
        answer = next(group for group in found.groups() if group).strip().strip("*").strip()
    return answer or None


def _calls(actual: Sequence[ToolCall], expected: Sequence[ToolCall], steps: "_Steps") -> Verdict:
    if tuple(actual) == tuple(expected):
        return MATCH
    if not all(kind_of(call.name) for call in expected):
        return Verdict(0.0, "unknown_tool", status=UNDECIDED)
    if len(actual) != len(expected):
        return reject("call_count", detail=f"{len(actual)} instead of {len(expected)}")
    if len(actual) > _MOST_CALLS:
        return reject("too_many_calls", detail=f"{len(actual)}, at most {_MOST_CALLS} are compared")
    found: dict[tuple[int, int], Verdict] = {}

    def verdict(i: int, j: int) -> Verdict:
        if (i, j) not in found:
            found[i, j] = steps.compare(actual[i], expected[j])
        return found[i, j]

    def likeness(i: int, j: int) -> int:
        said = verdict(i, j)
        return DIFFERENT if said.reward < 1.0 else EQUAL if said.used else IDENTICAL

    pairs = match(len(actual), len(expected), likeness)
    missing = next((j for j, i in enumerate(pairs) if i < 0), None)
    if missing is not None:
        spare = next(i for i in range(len(actual)) if i not in pairs)
        return verdict(spare, missing)
    used = {switch for j, i in enumerate(pairs) for switch in verdict(i, j).used}
    return Verdict(1.0, "match", used=tuple(sorted(used))) if used else MATCH


class _Different(Exception):
    """Why two steps differ."""

    def __init__(self, reason: str, key: str | None = None) -> None:
        super().__init__(reason)
        self.verdict = reject(reason, key)


class _Steps:
    """Compares calls under some switches."""

    def __init__(self, options: SearchOptions) -> None:
        self._options = options
        self._on = options.on()

    def compare(self, actual: ToolCall, expected: ToolCall) -> Verdict:
        """1 for calls that find the same."""
        if actual == expected:
            return MATCH
        if max(len(actual.arguments), len(expected.arguments)) > _LONGEST:
            return reject("too_long")
        try:
            wanted = read_call(expected)
        except BadJson as error:
            return reject("expected_unreadable", error.reason)
        try:
            given = read_call(actual)
        except BadJson as error:
            return reject("arguments_unreadable", error.reason)
        if given is None or wanted is None or given.kind != wanted.kind:
            return reject("step_mismatch", given.kind if given else "unknown")
        try:
            used = self._used(given, wanted)
        except _Different as different:
            return different.verdict
        return Verdict(1.0, "match", used=tuple(sorted(used))) if used else MATCH

    def _used(self, actual: Step, expected: Step) -> set[str]:
        used: set[str] = set()
        if corpus_of(actual.name) != corpus_of(expected.name):
            raise _Different("tool_mismatch", actual.name)
        self._allow("tool_names", actual.name != expected.name, used, "tool_mismatch")
        self._target(actual, expected, used)
        {SEARCH: self._search, OPEN: self._open, FIND: self._find, ANSWER: self._answer, EVIDENCE: self._evidence}[
            expected.kind
        ](actual, expected, used)
        self._allow("result_count", actual.amounts != expected.amounts, used, "arguments_mismatch")
        self._allow("remarks", actual.remarks != expected.remarks, used, "arguments_mismatch")
        if expected.kind != ANSWER and actual.rest != expected.rest:
            raise _Different("arguments_mismatch", next(iter(sorted(_differing(actual, expected))), None))
        return used

    def _allow(self, switch: str, needed: bool, used: set[str], reason: str) -> None:
        if needed and switch not in self._on:
            raise _Different(reason)
        if needed:
            used.add(switch)

    def _target(self, actual: Step, expected: Step, used: set[str]) -> None:
        """The same pages by address or id; the answer's own sources do not count."""
        if expected.kind == ANSWER:
            return
        if sorted(actual.ids) != sorted(expected.ids) or actual.cursor != expected.cursor:
            raise _Different("target_mismatch")
        if actual.page != expected.page:
            raise _Different("page_mismatch")
        same = self._matched(actual.urls, expected.urls, lambda i, j: same_address(i, j, self._on))
        if same is None:
            raise _Different("target_mismatch")
        used.update(same)

    def _matched(
        self, actual: Sequence[str], expected: Sequence[str], same: Callable[[str, str], tuple[str, ...] | None]
    ) -> set[str] | None:
        """The switches that make two multisets of texts one; None where they differ."""
        if len(actual) != len(expected):
            return None
        if not expected:
            return set()
        found = {(i, j): same(one, other) for i, one in enumerate(actual) for j, other in enumerate(expected)}

        def likeness(i: int, j: int) -> int:
            switches = found[i, j]
            return DIFFERENT if switches is None else EQUAL if switches else IDENTICAL

        pairs = match(len(actual), len(expected), likeness)
        if -1 in pairs:
            return None
        return {switch for j, i in enumerate(pairs) for switch in found[i, j] or ()}

    def _search(self, actual: Step, expected: Step, used: set[str]) -> None:
        if not expected.texts and not actual.texts:
            return
        reasons: list[str] = []

        def same(one: str, other: str) -> tuple[str, ...] | None:
            found = same_query(one, other, self._on, self._options.query_overlap)
            if isinstance(found, str):
                reasons.append(found)
                return None
            return found

        matched = self._matched(actual.texts, expected.texts, same)
        if matched is None:
            raise _Different(reasons[0] if len(reasons) == 1 else "query_mismatch")
        used.update(matched)

    def _open(self, actual: Step, expected: Step, used: set[str]) -> None:
        if actual.window == expected.window:
            return
        mine, theirs = actual.window or (0, 99), expected.window or (0, 99)
        shared = min(mine[1], theirs[1]) - max(mine[0], theirs[0]) + 1
        longest = max(mine[1] - mine[0], theirs[1] - theirs[0]) + 1
        if longest <= 0 or shared / longest < self._options.window_overlap:
            raise _Different("window_mismatch")
        used.add("window_overlap")

    def _find(self, actual: Step, expected: Step, used: set[str]) -> None:
        matched = self._matched(actual.texts, expected.texts, lambda i, j: same_phrase(i, j, self._on))
        if matched is None:
            raise _Different("phrase_mismatch")
        used.update(matched)

    def _answer(self, actual: Step, expected: Step, used: set[str]) -> None:
        least = self._options.answer_overlap
        matched = self._matched(actual.texts, expected.texts, lambda i, j: same_answer(i, j, self._on, least))
        if matched is None:
            raise _Different("answer_mismatch")
        used.update(matched)

    def _evidence(self, actual: Step, expected: Step, used: set[str]) -> None:
        least = self._options.answer_overlap
        matched = self._matched(actual.texts, expected.texts, lambda i, j: same_answer(i, j, self._on, least))
        if matched is None:
            raise _Different("evidence_mismatch")
        used.update(matched)


def _differing(actual: Step, expected: Step) -> set[str]:
    mine, theirs = actual.rest or {}, expected.rest or {}
    return {key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)}
