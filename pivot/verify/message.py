"""Messages compared without a model: the same kind of message with the same facts.

Guards the known exploit of the lenient rule, under which any text earns 1 where the expert wrote a message.
"""

from dataclasses import dataclass

from pivot.trajectory.types import Action
from pivot.verify.acts import Acts, read
from pivot.verify.facts import Facts, conflict, without_known_years
from pivot.verify.names import foreign_names, states, values
from pivot.verify.texts import unicode_form
from pivot.verify.types import MATCH, UNDECIDED, Context, Decide, Verdict, reject
from pivot.verify.words import overlap

_LONGEST = 16_000
# Requests for the same things share more than half of all that either asks for.
_LEAST_ASKED = 0.5
_MANY_ASKED = 4
# Requests without a known name for what they ask are the same with this much in common.
_SAME_TOPIC = 0.25
# Two messages this alike, of which only one negates, differ in nothing but the negation.
_ALMOST_EQUAL = 0.5
# Two refusals with this much in common refuse the same thing, whatever they offer instead.
_SAME_REFUSAL = 0.4
# Long accounts may differ in a detail that one leaves out.
_MANY_FACTS, _MOST_FACTS = 4, 0.7
_FEW_WORDS, _NO_TOPIC = 30, 2
# Deeds that one message may call by the other's name: an upgrade is a change.
_KIN = (
    {"change", "upgrade", "downgrade", "add", "remove", "exchange", "schedule"},
    {"return", "refund"},
    {"book", "change"},
    {"cancel", "refund"},
    {"transfer", "search"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOptions:
    """Switches of `message`.

    Attributes:
        any_text: Any text that is not empty earns 1, as in NeMo-Gym.
        least_overlap: Least overlap of topic words of two messages that tell something.
    """

    any_text: bool = False
    least_overlap: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.least_overlap <= 1.0:
            raise ValueError("least_overlap must be from 0 to 1")


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
        return compare_messages(actual.content or "", expected.content or "", options)

    return decide


def compare_messages(actual: str, expected: str, options: MessageOptions) -> Verdict:
    """1 when two messages do the same with the same facts. Symmetric, and 1 for a text against itself.

    Returns:
        The verdict; reasons besides `match`: `empty_message`, `too_long`, `closing_mismatch`, `handover_mismatch`,
        `asks_or_tells`, `request_mismatch`, `refusal_mismatch`, `done_mismatch`, `deed_mismatch`, `facts_mismatch`,
        `names_mismatch`, `states_mismatch`, `words_mismatch`.
    """
    if not actual.strip():
        return reject("empty_message")
    if _flat(actual) == _flat(expected):
        return MATCH
    if max(len(actual), len(expected)) > _LONGEST:
        return reject("too_long")
    mine, theirs = read(actual), read(expected)
    if not mine.substance and not mine.closing:
        return reject("empty_message")
    if mine.closing or theirs.closing:
        return MATCH if mine.closing and theirs.closing else reject("closing_mismatch")
    return _compare_kind(mine, theirs) or _compare_content(mine, theirs, options) or MATCH


def _compare_kind(mine: Acts, theirs: Acts) -> Verdict | None:
    if mine.handover != theirs.handover:
        return reject("handover_mismatch")
    refusal = (mine.refuses and not theirs.negates) or (theirs.refuses and not mine.negates)
    if refusal and not mine.handover:
        return reject("refusal_mismatch")
    if mine.asks != theirs.asks:
        # A refusal may end in the question what else, or whether a person should take over.
        asker = mine if mine.asks else theirs
        same_refusal = mine.refuses and theirs.refuses and overlap(mine.topic, theirs.topic) >= _SAME_REFUSAL
        return (
            None if same_refusal and (not asker.consent or asker.offered == {"transfer"}) else reject("asks_or_tells")
        )
    if mine.asks:
        return _compare_asking(mine, theirs)
    if mine.done != theirs.done and not mine.handover and not (mine.refuses and theirs.refuses):
        return reject("done_mismatch")
    return _compare_deeds(mine, theirs)


def _compare_asking(mine: Acts, theirs: Acts) -> Verdict | None:
    if mine.request and theirs.request and mine.asked and theirs.asked:
        return _compare_asked(mine, theirs)
    if mine.consent and theirs.consent:
        return _compare_deeds(mine, theirs)
    if mine.request and theirs.request:
        return None
    return reject("request_mismatch", detail="asks for consent or for information")


def _compare_asked(mine: Acts, theirs: Acts) -> Verdict | None:
    asked, wanted = mine.asked, theirs.asked
    union = asked | wanted
    shared = len(asked & wanted) / len(union)
    lenient = (mine.consent and theirs.consent) or len(union) >= _MANY_ASKED
    if shared > _LEAST_ASKED or (shared == _LEAST_ASKED and lenient):
        return None
    # "Which one?" may leave unsaid what it is one of.
    unnamed = any(all(slot.startswith("~") or slot == "choice" for slot in side) for side in (asked, wanted))
    if unnamed and overlap(mine.topic, theirs.topic) >= _SAME_TOPIC:
        return None
    return reject("request_mismatch", detail=_shown(asked ^ wanted))


def _compare_deeds(mine: Acts, theirs: Acts) -> Verdict | None:
    if not mine.deeds or not theirs.deeds or mine.deeds & theirs.deeds:
        return None
    if any(mine.deeds & kin and theirs.deeds & kin for kin in _KIN):
        return None
    return reject("deed_mismatch", detail=_shown(mine.deeds ^ theirs.deeds))


def _compare_content(mine: Acts, theirs: Acts, options: MessageOptions) -> Verdict | None:
    different = conflict(mine.facts, theirs.facts)
    if not different and not mine.asks and not mine.refuses:
        different = _left_out(mine.facts, theirs.facts)
    if different:
        return reject("facts_mismatch", detail=_shown(different))
    my_names, their_names = (
        foreign_names(mine.substance, theirs.substance),
        foreign_names(theirs.substance, mine.substance),
    )
    if my_names and their_names:
        return reject("names_mismatch", detail=_shown(my_names | their_names))
    my_values, their_values = values(mine.substance), values(theirs.substance)
    if my_values - their_values and their_values - my_values:
        return reject("names_mismatch", detail=_shown(my_values ^ their_values))
    return _compare_states(mine, theirs) or _compare_words(mine, theirs, options)


def _compare_states(mine: Acts, theirs: Acts) -> Verdict | None:
    """Statements are of the same states, where they are short; longer ones and questions must not disagree."""
    my_states, their_states = states(mine.substance), states(theirs.substance)
    short = mine.topic.total() + theirs.topic.total() <= _FEW_WORDS and not (mine.asks or mine.done or mine.refuses)
    if my_states != their_states and (short or (my_states - their_states and their_states - my_states)):
        return reject("states_mismatch", detail=_shown(my_states ^ their_states))
    return None


def _compare_words(mine: Acts, theirs: Acts, options: MessageOptions) -> Verdict | None:
    alike = overlap(mine.topic, theirs.topic)
    if mine.negates != theirs.negates and alike >= _ALMOST_EQUAL and not (mine.request or mine.handover):
        return reject("refusal_mismatch", detail="only one negates")
    if mine.asks or alike >= options.least_overlap:
        return None
    # "It equals 42" has no topic of its own to differ in.
    fewest = min(mine.topic.total(), theirs.topic.total())
    if mine.facts == theirs.facts and mine.facts.all() and 0 < fewest <= _NO_TOPIC:
        return None
    return reject("words_mismatch")


def _left_out(mine: Facts, theirs: Facts) -> frozenset[str]:
    """Amounts and days that only one of two accounts gives; none where they share most of many facts."""
    my_days, their_days = without_known_years(mine.dates, theirs.dates), without_known_years(theirs.dates, mine.dates)
    shared, union = mine.all() & theirs.all(), mine.all() | theirs.all()
    if len(union) >= _MANY_FACTS and len(shared) >= _MOST_FACTS * len(union):
        return frozenset()
    return (mine.numbers ^ theirs.numbers) | (my_days ^ their_days)


def _flat(text: str) -> str:
    return " ".join(unicode_form(text).casefold().split())


def _shown(items: frozenset[str]) -> str:
    return ", ".join(sorted(items)[:8])[:200]
