"""Messages compared without a model: the same kind of message with the same facts.

Guards the known exploit of the lenient rule, under which any text earns 1 where the expert wrote a message.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pivot.trajectory.types import Action
from pivot.verify.oldfacts import clean, facts, names, states, words
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject

_LONGEST = 100_000
# Dice overlap of the words below which two messages are about different things. NeMo-Gym's tau2 setting,
# which divides by the sum of both lengths, is 0.1: the same as 0.2 here.
_LEAST_OVERLAP = 0.2

_REFUSALS = re.compile(
    r"\b(?:cannot|can not|can't|unable to|not able to|not allowed to|not permitted|not possible|won't be able"
    r"|will not be able|must decline|have to decline|against (?:our|the) policy|not eligible|sorry|afraid"
    r"|unfortunately)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOptions:
    """Switches of `message`.

    Attributes:
        any_text: Any text that is not empty earns 1, as in NeMo-Gym.
    """

    any_text: bool = False


PRESETS = {"guarded": MessageOptions(), "lenient": MessageOptions(any_text=True)}


def message(options: MessageOptions) -> Decide:
    """The verifier under some options; where the expert made a call it leaves the verdict to others.

    Reasons: `match`, `malformed:why`, `kind_mismatch:call|message`, `other_calls`, and those of `compare_messages`.
    """

    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        if actual.malformed is not None:
            return reject("malformed", actual.malformed)
        if expected.calls:
            if not actual.calls:
                return reject("kind_mismatch", "message")
            return MATCH if actual.calls == expected.calls else Verdict(0.0, "other_calls", status=UNDECIDED)
        if actual.calls:
            return reject("kind_mismatch", "call")
        if options.any_text:
            return MATCH if (actual.content or "").strip() else reject("empty_message")
        return compare_messages(actual.content or "", expected.content or "")

    return decide


def is_refusal(text: str) -> bool:
    """Whether the text holds one of a small written list of refusing phrases."""
    return _REFUSALS.search(clean(text).casefold()) is not None


def overlap(left: str, right: str) -> float:
    """Dice overlap of the multisets of words without digits, in [0, 1]; symmetric, 1 for the same words."""
    a, b = _plain_words(left), _plain_words(right)
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 0.0


def _plain_words(text: str) -> Counter[str]:
    # Words with digits are facts, which are compared on their own.
    return Counter(word for word in words(text) if not any(map(str.isdigit, word)))


def compare_messages(actual: str, expected: str) -> Verdict:
    """1 when two messages do the same: both ask or both tell, both or neither refuse, with the same facts.

    Facts (`pivot.verify.facts`): numbers, ids, dates and codes must be the same set; a name in one must be a
    word of the other; states (shipped, pending, ...) must be the same in statements, and must not disagree in
    questions, which may leave them out. Last, the words must overlap a little. Symmetric, and 1 for a
    non-empty text against itself.

    Returns:
        The verdict; reasons besides `match`: `empty_message`, `too_long`, `asks_or_tells`,
        `refusal_mismatch`, `facts_mismatch`, `names_mismatch`, `states_mismatch`, `words_mismatch`.
    """
    if not actual.strip():
        return reject("empty_message")
    if clean(actual).casefold() == clean(expected).casefold():
        return MATCH
    if len(actual) > _LONGEST:
        return reject("too_long")
    asks = "?" in actual
    if asks != ("?" in expected):
        return reject("asks_or_tells")
    if is_refusal(actual) != is_refusal(expected):
        return reject("refusal_mismatch")
    return _compare_facts(actual, expected, asks)


def _compare_facts(actual: str, expected: str, asks: bool) -> Verdict:
    different = facts(actual) ^ facts(expected)
    if different:
        return reject("facts_mismatch", detail=_shown(different))
    foreign = (names(actual) - set(words(expected))) | (names(expected) - set(words(actual)))
    if foreign:
        return reject("names_mismatch", detail=_shown(foreign))
    mine, wanted = states(actual), states(expected)
    disagree = bool(mine and wanted) and mine.isdisjoint(wanted) if asks else mine != wanted
    if disagree:
        return reject("states_mismatch", detail=_shown(mine ^ wanted))
    return MATCH if overlap(actual, expected) >= _LEAST_OVERLAP else reject("words_mismatch")


def _shown(items: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(items)[:8])[:200]
