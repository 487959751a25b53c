"""Messages compared without a model: the same kind of message with the same facts.

Guards the known exploit of the lenient rule, under which any text earns 1 where the expert wrote a message.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pivot.trajectory.types import Action
from pivot.verify.acts import Acts, read
from pivot.verify.contrasts import at_once, currencies, foreign_paths, kinds, moments, opposed, total
from pivot.verify.exchanged import exchanged
from pivot.verify.facts import conflict, facts, spelled, without_known_years
from pivot.verify.names import foreign_names, states, values
from pivot.verify.near_copies import shared_meaning, substituted
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
_MANY_FACTS, _MOST_FACTS = 4, 0.85
_ASIDE = re.compile(r"\((?:about|approximately|approx\.?|roughly|around|or|i\.e\.|\u2248|~)([^()]{1,60})\)")
_DIGITS = re.compile(r"\d+")
_FEW_WORDS, _NO_TOPIC, _FACTS_FOR_WORDS = 30, 2, 2
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
    refusal = (mine.refuses and not (theirs.negates or theirs.bounded)) or (
        theirs.refuses and not (mine.negates or mine.bounded)
    )
    if refusal and not mine.handover:
        return reject("refusal_mismatch")
    if mine.asks != theirs.asks:
        # A refusal may end in the question what else, or whether a person should take over.
        asker = mine if mine.asks else theirs
        if mine.instructs and theirs.instructs and not asker.consent and not asker.inquires:
            return None  # steps to take, with or without a "please"
        same_refusal = mine.refuses and theirs.refuses and overlap(mine.topic, theirs.topic) >= _SAME_REFUSAL
        return (
            None if same_refusal and (not asker.consent or asker.offered == {"transfer"}) else reject("asks_or_tells")
        )
    if mine.asks:
        return _compare_asking(mine, theirs)
    reported = (mine.done and theirs.past) or (theirs.done and mine.past)
    if mine.done != theirs.done and not reported and not mine.handover and not (mine.refuses and theirs.refuses):
        return reject("done_mismatch")
    return _compare_deeds(mine, theirs)


def _compare_asking(mine: Acts, theirs: Acts) -> Verdict | None:
    if mine.request and theirs.request and mine.asked and theirs.asked:
        return _compare_asked(mine, theirs)
    if mine.consent and theirs.consent:
        return _compare_deeds(mine, theirs) or _compare_choice(mine, theirs) or _compare_choice(theirs, mine)
    if mine.request and theirs.request:
        return None
    if mine.alternatives or theirs.alternatives:
        # "To A or to B?" and "Where to, A or B?" ask for the same.
        same = max(overlap(mine.topic, theirs.topic), _alike_in_all(mine, theirs)) >= _SAME_TOPIC
        return _compare_deeds(mine, theirs) if same else reject("request_mismatch", detail="other alternatives")
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


def _compare_choice(mine: Acts, theirs: Acts) -> Verdict | None:
    """Where one message leaves the choice between deeds to the user, the other offers them too."""
    missing = frozenset(
        deed
        for deed in mine.choice
        if theirs.offered
        and deed not in theirs.offered
        and not any({deed} & kin and theirs.offered & kin for kin in _KIN)
    )
    return reject("deed_mismatch", detail=_shown(missing)) if missing else None


def _compare_deeds(mine: Acts, theirs: Acts) -> Verdict | None:
    if not mine.deeds or not theirs.deeds or mine.deeds & theirs.deeds:
        return None
    if any(mine.deeds & kin and theirs.deeds & kin for kin in _KIN):
        return None
    # One report may tell by the way what the other is about.
    if mine.done and theirs.done and (mine.deeds & theirs.mentioned or theirs.deeds & mine.mentioned):
        return None
    return reject("deed_mismatch", detail=_shown(mine.deeds ^ theirs.deeds))


def _compare_content(mine: Acts, theirs: Acts, options: MessageOptions) -> Verdict | None:
    different = conflict(mine.facts, theirs.facts)
    if not different and not mine.asks and not mine.refuses:
        different = _left_out(mine, theirs)
    different = different or _other_terms(mine, theirs)
    if different:
        return reject("facts_mismatch", detail=_shown(different))
    one, other = mine.substance, theirs.substance
    for my_names, their_names in (
        (foreign_names(one, other), foreign_names(other, one)),
        (values(one) - values(other), values(other) - values(one)),
        (kinds(one) - kinds(other), kinds(other) - kinds(one)),
        (foreign_paths(one, other), foreign_paths(other, one)),
    ):
        if my_names and their_names:
            return reject("names_mismatch", detail=_shown(my_names | their_names))
    if swapped := exchanged(one, other):
        return reject("facts_mismatch", detail="exchanged: " + _shown(swapped))
    return _compare_negation(mine, theirs) or _compare_states(mine, theirs) or _compare_words(mine, theirs, options)


def _other_terms(mine: Acts, theirs: Acts) -> frozenset[str]:
    """Another currency, another time as seen from today, another total to agree to."""
    one, other = mine.substance, theirs.substance
    my_money, their_money = currencies(one), currencies(other)
    if my_money - their_money and their_money - my_money:
        return my_money ^ their_money
    mine_when, theirs_when = moments(one), moments(other)
    if mine_when and theirs_when and mine_when.isdisjoint(theirs_when):
        return mine_when | theirs_when
    if (at_once(one) and not mine.facts.spans and theirs.facts.spans and not theirs_when) or (
        at_once(other) and not theirs.facts.spans and mine.facts.spans and not mine_when
    ):
        return mine.facts.spans | theirs.facts.spans | {"at once"}
    totals = {amount for amount in (total(one), total(other)) if amount is not None}
    if mine.consent and theirs.consent and total(one) and total(other) and len(totals) > 1:
        return frozenset(f"{amount:g}" for amount in totals)
    return frozenset()


def _compare_negation(mine: Acts, theirs: Acts) -> Verdict | None:
    softly = theirs.privative if mine.negates else mine.privative
    alike = overlap(mine.topic, theirs.topic) >= _ALMOST_EQUAL
    if mine.negates != theirs.negates and alike and not (mine.request or mine.handover or softly):
        return reject("refusal_mismatch", detail="only one negates")
    return None


def _compare_states(mine: Acts, theirs: Acts) -> Verdict | None:
    """Statements are of the same states, where they are short; longer ones and questions must not disagree."""
    my_states, their_states = states(mine.substance), states(theirs.substance)
    few = mine.topic.total() + theirs.topic.total() <= _FEW_WORDS
    short = few and not any(acts.asks or acts.done or acts.refuses for acts in (mine, theirs))
    if opposed(mine.substance, theirs.substance):
        return reject("states_mismatch", detail="opposites")
    if my_states != their_states and (short or (my_states - their_states and their_states - my_states)):
        return reject("states_mismatch", detail=_shown(my_states ^ their_states))
    return None


def _compare_words(mine: Acts, theirs: Acts, options: MessageOptions) -> Verdict | None:
    if other_words := substituted(mine.substance, theirs.substance):
        return reject("words_mismatch", detail=_shown(other_words))
    alike = overlap(mine.topic, theirs.topic)
    meant = overlap(shared_meaning(mine.topic), shared_meaning(theirs.topic))
    if mine.asks or max(alike, meant) >= options.least_overlap:
        return None
    fewest, most = sorted((mine.topic.total(), theirs.topic.total()))
    if alike and fewest > _NO_TOPIC and _alike_in_all(mine, theirs) >= options.least_overlap:
        return None
    # "It equals 42" has no topic of its own to differ in.
    bare = most <= 1 and (mine.facts.numbers or (mine.done and theirs.done))
    if mine.facts == theirs.facts and ((mine.facts.all() and 0 < fewest <= _NO_TOPIC) or bare):
        return None
    return reject("words_mismatch")


def _alike_in_all(mine: Acts, theirs: Acts) -> float:
    """Overlap of words and facts together, where some facts are shared: they are as good as words in common."""
    my_facts, their_facts = mine.facts.all(), theirs.facts.all()
    if len(my_facts & their_facts) < _FACTS_FOR_WORDS:
        return 0.0
    return overlap(mine.topic + Counter(my_facts), theirs.topic + Counter(their_facts))


def _left_out(one: Acts, other: Acts) -> frozenset[str]:
    """Amounts and days that only one of two accounts gives; none where they share most of many facts.

    Counts in words ("both", "the two") and asides ("(about 5 miles)") may be missing; one of several ids may not.
    """
    mine, theirs = one.facts, other.facts
    my_days, their_days = without_known_years(mine.dates, theirs.dates), without_known_years(theirs.dates, mine.dates)
    shared, union = mine.all() & theirs.all(), mine.all() | theirs.all()
    if one.done and other.done and (ids := _unlike(mine.ids ^ theirs.ids, mine.ids & theirs.ids)):
        return ids
    if len(union) >= _MANY_FACTS and len(shared) >= _MOST_FACTS * len(union):
        return frozenset()
    by_the_way = frozenset[str]().union(*(_by_the_way(acts.substance) for acts in (one, other)))
    return ((mine.numbers ^ theirs.numbers) - by_the_way) | (my_days ^ their_days)


def _unlike(missing: frozenset[str], shared: frozenset[str]) -> frozenset[str]:
    """Missing ids of the same make as one that is shared: `w123` beside `w456`."""
    makes = {_DIGITS.sub("0", one) for one in shared}
    return frozenset(one for one in missing if _DIGITS.sub("0", one) in makes)


def _by_the_way(text: str) -> frozenset[str]:
    return (spelled(text) | {"0"}).union(*(facts(aside).numbers for aside in _ASIDE.findall(text)))


def _flat(text: str) -> str:
    return " ".join(unicode_form(text).casefold().split())


def _shown(items: frozenset[str]) -> str:
    return ", ".join(sorted(items)[:8])[:200]
