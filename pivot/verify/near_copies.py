"""What differs between sentences that are otherwise the same: another thing, one less, or two turned round.

Two people who say the same use other words in many places: where a sentence is kept but for one, that one is meant.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from pivot.verify.words import stem, word_set, words

# Sentences with this share of their words in common and in order are copies of one another.
_COPY = 0.6
_MOST_SENTENCES, _MOST_WORDS, _LONGEST_SWAP = 40, 60, 2
# Small words that decide what is said.
_DECISIVE = word_set("up down before after in out on off from true false above below per under over")
_RELATIONS = word_set("from to before after than over")
_SENTENCE_END = re.compile(r"\n+|(?<=[.?!;]) ")
_JOINED = re.compile(r"(?<=\w)'(?:ve|ll|d|m|re)\b")
_LITTLE = word_set(
    """
    a about again all also already an and any are as at be because been both but by can could current currently did do
    does each either else exactly first for fully had has have he her here how however i if instead is it its itself
    just kindly last later me more my new newly next no not now of okay ok once one or our out please quite really
    right same shall she simply so some still successfully sure than thank thanks that the their then there these they
    this those though to today together too until us very was we well were what when where whether which while who will
    would yet you your yours yes i'd i'll i'm i've it's let's that's there's we'll we're we've you'd you'll you're
    you've don't doesn't didn't can't cannot couldn't isn't aren't wasn't weren't won't may might must should able
    unable unfortunately sorry afraid like want wish need prefer for with into onto via through mr ms mrs dr
    """
)
# Words that say the same of orders, bookings, accounts, phones and programmes.
_SAME = tuple(
    frozenset(stem(word) for word in line.split())
    for line in """
    provide share give tell send supply specify enter state indicate type say
    change modify update switch reschedule adjust move rebook alter edit
    book reserve purchase buy make place order get booked bought
    reservation booking trip itinerary flight order
    id identification number code identifier reference
    account profile
    refund reimburse money credit return back repay
    complete done finish process finalise finalize ready set carry submit
    help assist support
    item product article thing
    phone mobile device handset
    restart reboot
    begin start commence
    leave depart departure
    cost price amount total charge fee fare come be equal pay
    allow permit possible let
    eligible qualify entitle
    issue problem trouble
    check verify confirm validate review look see inspect ensure double
    find locate see found discover spot
    show display list contain include have
    agent representative specialist human person colleague people
    transfer connect forward pass hand put escalate
    ship send deliver dispatch sent mail email
    bag baggage luggage suitcase
    passenger traveller traveler person people guest
    direct nonstop
    plan tariff package
    certificate voucher
    receive get obtain have
    additional extra further more other another
    incorrect wrong
    fix repair resolve solve correct mend
    delete remove erase drop clear
    add append include put insert
    create make generate write produce
    file document script
    run execute launch start
    function method routine
    error failure exception
    approximately around about roughly
    request ask
    bill invoice
    proceed continue go ahead
    option choice version variant alternative
    large big
    small little
    quick fast
    full whole entire complete all
    keep stay remain
    end finish expire over run
    cancel cancelled terminate
    enable activate turn switch resume reactivate on
    disable deactivate turn switch off
    day date
    time hour
    city town
    photo picture image
    way method means
    postal zip
    happen occur
    try attempt
    work function
    live reside
    wait hold
    toggle turn switch put set
    search look
    go travel fly head take
    rule policy terms
    store shop
    company airline we
    parcel package shipment
    situation case
    chat conversation
    build construct
    value amount
    answer result
    apply use redeem
    select choose pick
    traveling travelling
    exchange replace swap
    available offer left
    sign log
    open launch
    """.strip().splitlines()
)
_ONE_FOR_ALL = {word: min(group) for group in reversed(_SAME) for word in group}


def substituted(mine: str, theirs: str) -> frozenset[str]:
    """The words in which two otherwise equal sentences differ without meaning the same; empty where there are none."""
    mine, theirs = sorted((mine, theirs))  # alignment depends on which comes first
    mine_all, theirs_all = _stems(words(mine)), _stems(words(theirs))
    for one, other in _copies(mine, theirs):
        for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
            left, right = _stems(one[a:b]), _stems(other[c:d])
            if kind == "replace" and _differ(left - theirs_all, right - mine_all):
                return left | right
            missing = (left - theirs_all) | (right - mine_all)
            if kind in ("insert", "delete") and missing and not {"and", "or"}.isdisjoint((*one[a:b], *other[c:d])):
                return missing
        if turned := _turned(one, other):
            return turned
    return frozenset()


def shared_meaning(topic: Counter[str]) -> Counter[str]:
    """Stems with one word for all that say the same."""
    found: Counter[str] = Counter()
    for word, count in topic.items():
        found[_ONE_FOR_ALL.get(word, word)] += count
    return found


def _copies(mine: str, theirs: str) -> Iterator[tuple[list[str], list[str]]]:
    """Pairs of sentences, the same but for a few words and not quite the same."""
    left, right = _read(mine), _read(theirs)
    for one in left:
        if one in right:
            continue
        for other in right:
            if other in left:
                continue
            shared = SequenceMatcher(None, one, other, autojunk=False)
            if shared.quick_ratio() >= _COPY and shared.ratio() >= _COPY:
                yield one, other


def _read(text: str) -> list[list[str]]:
    return [said[:_MOST_WORDS] for part in _SENTENCE_END.split(text) if (said := words(_JOINED.sub("", part)))][
        :_MOST_SENTENCES
    ]


def _stems(said: Sequence[str]) -> frozenset[str]:
    return frozenset(
        stem(word)
        for word in said
        if (word in _DECISIVE or word not in _LITTLE) and not any(map(str.isdigit, word)) and not word.endswith("ly")
    )


def _alike(one: str, other: str) -> bool:
    """Cut short or not: `St` and `Street`."""
    return one.startswith(other) or other.startswith(one)


def _differ(left: frozenset[str], right: frozenset[str]) -> bool:
    if not left or not right or max(len(left), len(right)) > _LONGEST_SWAP:
        return False
    if any(_alike(one, other) for one in left for other in right):
        return False
    return not any(left & group and right & group for group in _SAME)


def _turned(one: Sequence[str], other: Sequence[str]) -> frozenset[str]:
    """Two things related the other way round: from A to B, from B to A."""
    mine, theirs = _related(one), _related(other)
    for first in mine.keys() & theirs.keys():
        for second in mine.keys() & theirs.keys():
            if first != second and mine[first] == theirs[second] and mine[second] == theirs[first] != mine[first]:
                return frozenset({mine[first], mine[second]})
    return frozenset()


def _related(said: Sequence[str]) -> dict[str, str]:
    """The first word of substance after each word that relates things."""
    found: dict[str, str] = {}
    for at, word in enumerate(said):
        if word in _RELATIONS:
            after = next((stem(next_) for next_ in said[at + 1 : at + 4] if next_ not in _LITTLE), None)
            if after is not None:
                found.setdefault(word, after)
    return found
