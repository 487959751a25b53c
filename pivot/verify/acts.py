"""What a message of an agent does: asks for something, asks for consent, refuses, reports, hands over, or chats.

Phrases of written lists, matched sentence by sentence; no model. Every pattern is linear in the text.
"""

import re
from collections import Counter
from dataclasses import dataclass

from pivot.verify import phrases
from pivot.verify.facts import Facts, facts
from pivot.verify.texts import unicode_form
from pivot.verify.words import topic, words

_LONGEST_SENTENCE, _MOST_SENTENCES = 2_000, 400
_SENTENCE_END = re.compile(
    r"(?<=[.?!])(?<!\b[DMdm]r\.)(?<!\b[Mm]s\.)(?<!\b[Mm]rs\.)[\"')*_]{0,3}\s+(?=\S)"
    r"|\n+|,? or (?=(?:is there|are there|do you|would you|if you)\b)",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"(?m)^[ \t]{0,16}(?:\d{1,2}[.)]|[-*+\u2022])[ \t]")
# Underscores inside a word are its own.
_MARKUP = re.compile(r"[*`#>|]{1,8}|(?<![^\W_])_{1,8}|_{1,8}(?![^\W_])")


@dataclass(frozen=True, slots=True)
class Acts:
    """What a message does.

    Attributes:
        consent: Asks the user to agree to something.
        request: Asks the user for information.
        inquires: Asks for information, and not only for steps to be taken.
        instructs: Says which steps to take.
        refuses: Says that something cannot be had or done.
        negates: Uses any negation at all.
        bounded: Gives bad news or a bound without a negation: sold out, only once.
        privative: Names a state that others put as a negation: unpaid, free.
        done: Reports something as carried out.
        past: Says that something happened or is so now, whoever did it.
        handover: Passes the user to somebody else (and does not ask whether to).
        promise: Says what the agent will do next.
        closing: Nothing of substance: thanks, greetings, offers of more help.
        asked: The pieces of information asked for, by name, or stems where no name is known.
        deeds: What is asked, refused or reported to be done: `cancel`, `refund`, …
        mentioned: Deeds that the message names at all.
        offered: Deeds that consent is asked for.
        choice: Deeds between which the user is to choose.
        alternatives: Asks to choose between alternatives.
        substance: The message without chat and offers.
        topic: Stems of its words.
        facts: The facts of the substance.
    """

    consent: bool
    request: bool
    inquires: bool
    instructs: bool
    refuses: bool
    negates: bool
    bounded: bool
    privative: bool
    done: bool
    past: bool
    handover: bool
    promise: bool
    alternatives: bool
    closing: bool
    asked: frozenset[str]
    deeds: frozenset[str]
    mentioned: frozenset[str]
    offered: frozenset[str]
    choice: frozenset[str]
    substance: str
    topic: Counter[str]
    facts: Facts

    @property
    def asks(self) -> bool:
        """Whether the user has to answer."""
        return self.consent or self.request


# Where the thing asked for ends: what follows says what it is for.
_PURPOSE = re.compile(
    r"\b(?:so (?:that )?(?:i|we)|and (?:then )?(?:i|we)(?:'ll| will| can)|(?:in order )?to (?:proceed|help|assist"
    r"|look|locate|verify|access|find|continue"
    r"|check|get|process"
    r"|complete|pull|retrieve|move|confirm|identify|be able|ensure|make sure|begin|start)|before (?:i|we|proceeding)"
    r"|associated with|linked to|on (?:the|your|my) (?:account|file|profile)|(?:that )?you(?:'d| would| want"
    r"| wish)? ?(?:like|want)? ?(?:me )?to (?:cancel"
    r"|return|exchange|modify|change|update|refund|upgrade|book|proceed)|if you don't|of your order"
    r"|for your (?:order|reservation|flight|trip|booking)|(?:of|for) (?:each|every|all|both)\b"
    r"|for the (?:order|reservation|flight|trip|booking)|with your (?:order|reservation|request|flight|booking)"
    r"|(?:make )?to (?:your|the|this) (?:\w+ )?(?:order|reservation|flight|booking|trip|itinerary|ticket|account"
    r"|plan))\b"
)
_SLOTS = tuple((name, re.compile(rf"\b(?:{pattern})")) for name, pattern in phrases.SLOTS.items())
_BY_NUMBER = tuple((name, re.compile(rf"\b(?:{pattern})")) for name, pattern in phrases.BY_NUMBER.items())
_DEEDS = tuple((name, re.compile(rf"\b(?:{pattern})")) for name, pattern in phrases.DEEDS.items())


def read(text: str) -> Acts:
    """What a message does. Never raises; time is linear in the text."""
    kept: list[str] = []
    found = _acts_of("")
    asked: set[str] = set()
    deeds: set[str] = set()
    mentioned: set[str] = set()
    offered: set[str] = set()
    choice: set[str] = set()
    listing = False
    said_at_all = sentences(text)
    for line in said_at_all:
        said = line.lower()
        is_item = line.startswith("\x00")
        said = said.lstrip("\x00")
        addressed = phrases.ADDRESSED.match(said) is not None
        said = _without_opening(said)
        if not said or addressed or _is_chat(said):
            continue
        kept.append(line.lstrip("\x00"))
        here = _acts_of(said)
        for name, value in here.items():
            found[name] = found[name] or value
        if here["request"] or (listing and is_item):
            asked |= slots(said)
            found["request"] = found["request"] or listing
        listing = (here["request"] and said.endswith(":")) or (listing and is_item)
        named = _deeds_of(said)
        mentioned |= named
        if here["consent"] or here["refuses"] or here["done"] or here["handover"]:
            deeds |= named
            offered |= named if here["consent"] else set()
        if here["consent"] and here["alternatives"]:
            choice |= _choice(said)
    substance = "\n".join(kept)
    return Acts(
        **found,
        closing=bool(said_at_all) and not kept,
        asked=_asked(asked),
        deeds=frozenset(deeds),
        mentioned=frozenset(mentioned),
        offered=frozenset(offered),
        choice=frozenset(choice),
        substance=substance,
        topic=topic(substance),
        facts=facts(substance),
    )


def _deeds_of(said: str) -> set[str]:
    return {name for name, pattern in _DEEDS if pattern.search(said)}


def _choice(said: str) -> set[str]:
    """Deeds on both sides of an `or`; to keep a thing is to do nothing."""
    before, _, after = said.partition(" or ")
    left, right = _deeds_of(before) - {"keep"}, _deeds_of(after) - {"keep"}
    return left | right if left and right - left else set()


def _asked(found: set[str]) -> frozenset[str]:
    """Names before stems, and particular names before general ones."""
    named = {slot for slot in found if not slot.startswith("~")}
    if named & {"origin", "destination"}:
        named -= {"city", "location"}
    if len(named) > 1:
        named -= {"choice"}  # which one of them: what it is one of says more
    return frozenset(named or found)


def sentences(text: str) -> list[str]:
    """Sentences and lines without markup; items of a list begin with NUL."""
    text = unicode_form(text)
    found = []
    for part in _SENTENCE_END.split(_LIST_ITEM.sub("\n\x00", text)):
        line = " ".join(_MARKUP.sub(" ", part).split())[:_LONGEST_SENTENCE]
        if any(char.isalnum() for char in line):
            found.append(line)
    return found[:_MOST_SENTENCES]


def _without_opening(said: str) -> str:
    for _ in range(3):
        opening = phrases.OPENING.match(said)
        if opening is None:
            return said
        said = said[opening.end() :]
    return said


def _is_chat(said: str) -> bool:
    """Whether a sentence is thanks, sympathy or an offer of help and nothing else."""
    if phrases.VERIFIED.match(said):
        return True
    if _reports(said) or phrases.HANDOVER.search(said) or phrases.REFUSAL.search(said) or phrases.REGRET.search(said):
        return False
    if phrases.OFFER.search(said) or phrases.CHAT.match(said):
        return True
    asks = "?" in said or phrases.REQUEST.search(said) or phrases.CONSENT.search(said)
    return not asks and phrases.WEAK_OFFER.search(said) is not None


def _reports(said: str, pattern: re.Pattern[str] = phrases.DONE) -> bool:
    """Whether something is said to have been carried out, and not only wished, planned or denied."""
    return any(
        not phrases.HYPOTHETICAL.search(said[max(0, match.start() - 60) : match.start()])
        for match in pattern.finditer(said)
    )


def _hands_over(said: str) -> bool:
    found = phrases.HANDOVER.search(said)
    return found is not None and not phrases.OFFERED.search(said[: found.start()])


def _acts_of(said: str) -> dict[str, bool]:
    question = "?" in said
    wanted = phrases.REQUEST.search(said) is not None
    consent = (phrases.CONSENT.search(said) is not None and not phrases.OPEN_QUESTION.match(said)) or (
        question and not wanted and not phrases.QUERY.search(said)
    )
    request = not consent and (question or wanted)
    instructs = phrases.INSTRUCTION.search(said) is not None
    regrets = not question and not wanted and phrases.REGRET.search(said) is not None
    refuses = regrets or phrases.REFUSAL.search(said) is not None
    return {
        "consent": consent,
        "request": request,
        "inquires": request and (question or not instructs or phrases.ANSWER.search(said) is not None),
        "instructs": instructs,
        "refuses": refuses,
        "negates": refuses or not phrases.NEGATION.isdisjoint(words(phrases.YES_NO.sub(" ", said))),
        "bounded": phrases.BOUNDED.search(said) is not None,
        "privative": phrases.PRIVATIVE.search(said) is not None,
        "done": not question and not refuses and _reports(said),
        "past": not question and not refuses and (_reports(said) or _reports(said, phrases.PAST)),
        "handover": not question and not consent and _hands_over(said),
        "promise": not question and phrases.PROMISE.search(said) is not None,
        "alternatives": question and phrases.ALTERNATIVES.search(said) is not None,
    }


def slots(said: str) -> set[str]:
    """Names of what a request asks for; stems of its words where none is known."""
    triggers = [match.start() for match in phrases.REQUEST.finditer(said)]
    wanted = said[triggers[-1] :] if triggers else said
    purpose = _PURPOSE.search(wanted, 1)
    if purpose is not None and purpose.start() > 12:
        wanted = wanted[: purpose.start()]
    named = {name for name, pattern in _SLOTS if pattern.search(wanted)}
    if "birth" in named:
        named -= {"date", "time"}
    if len(named) > 1:  # "the address of your order" asks for no order
        named -= {name for name, by_number in _BY_NUMBER if not by_number.search(wanted)}
    return named or {f"~{stem}" for stem in topic(wanted)}
