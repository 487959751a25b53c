"""What a message of an agent does: asks for something, asks for consent, refuses, reports, hands over, or chats.

Phrases of written lists, matched sentence by sentence; no model. Every pattern is linear in the text.
"""

import re
from dataclasses import dataclass

from pivot.verify.facts import Facts, facts, plain
from pivot.verify.texts import unicode_form
from pivot.verify.words import topic, word_set, words

_LONGEST_SENTENCE = 2_000
_SENTENCE_END = re.compile(r"(?<=[.?!])[\"')*_]{0,3}\s+(?=\S)|\n+")
_MARKUP = re.compile(r"[*_`#>|]{1,8}")

_OPENING = re.compile(
    r"(?:great(?: choice| news)?|perfect|certainly|of course|absolutely|ok(?:ay)?|all ?right|yes|yep|hello|hi|hey|thanks"
    r"|thank you(?: (?:so|very) much)?|got it|understood|excellent|wonderful|i see|sure(?: thing)?|no (?:problem|worries)"
    r"|good (?:morning|afternoon|evening|day)|sounds good|very well|noted|right|alright|welcome back|congratulations)"
    r"(?: there| again| everyone)?(?:,? (?:mr|ms|mrs|dr)\.? [a-z]{1,20})?[,.!:]{1,3}\s+"
)
_CHAT = re.compile(
    r"(?:thank(?:s| you)\b(?!.*\?)|you(?:'re| are) (?:very |most )?welcome|(?:it(?:'s| is| was) )?(?:my|a) pleasure"
    r"|i(?:'m| am|'d be| would be|'ll be| will be) (?:more than |so |very |always )?(?:happy|glad|pleased|delighted|here|able)"
    r" (?:to (?:help|assist|hear)|i|that|you|for you|whenever|if)|(?:i'm )?(?:happy|glad|here) to (?:help|assist)|glad (?:i|that|to)"
    r"|i (?:completely |fully |totally )?(?:understand|appreciate|apologi[sz]e|hear you|see)\b|my apologies|apologies for"
    r"|(?:i(?:'m| am) )?(?:so |very |really |truly )?sorry (?:to hear|for|about|that you|you)|we(?:'re| are) sorry (?:for|to hear|about)"
    r"|have a (?:\w+ ){0,3}(?:day|trip|flight|evening|weekend|time|one|night|week)|enjoy\b|safe travels|take care|good ?bye|bye\b"
    r"|(?:please )?(?:do not|don't) hesitate|(?:please )?feel free|looking forward|best (?:regards|wishes)|all the best|cheers"
    r"|i(?:'d| would| can| will|'ll| am able to)(?: be able to| certainly| definitely| gladly| also)? (?:help|assist)"
    r"(?: you)?(?: with (?:that|this|your [a-z ]{1,40}|the [a-z ]{1,40}|[a-z]{1,15}ing [a-z ]{1,40}|it))?(?: today| right away)?[.!]?$"
    r"|let me (?:help|assist) you|let's get (?:this|that|started)|take your time|we (?:value|appreciate)|no (?:problem|worries) at all"
    r"|(?:hello|hi|hey|sure|certainly|of course|absolutely|great|perfect|okay|no problem|no worries|congratulations|welcome)\b[\w ,']{0,40}[.!]*$"
    r"|if you (?:\w+ ){0,3}(?:have|need|require|want|run into|change) (?:\w+ ){0,3}(?:questions?|help|assistance|anything|concerns?|requests?"
    r"|your mind|support)|should you (?:have|need|require)|whenever you(?:'re| are) ready)"
)
_OFFER = re.compile(
    r"\b(?:anything else|something else|(?:any|other|further|more|additional) (?:\w+ )?(?:questions?|assistance|help|requests?|concerns?|inquiries)"
    r"|how (?:else )?(?:can|may|could) i (?:help|assist|be of)|what (?:else )?(?:can|may|could) i (?:do|help|assist)"
    r"|what (?:would you like|do you need) (?:help|assistance) with|(?:help|assist) you (?:further|with today|today)\b)"
)
_CONSENT = re.compile(
    r"\b(?:would you (?:also )?(?:like|prefer|want|be (?:okay|ok|willing|interested|open))|would you still like"
    r"|do you (?:still |also )?(?:want|wish|agree|confirm|accept|consent|approve|authori[sz]e|understand)\b"
    r"|(?:shall|should) (?:i|we)|(?:may|can) (?:i|we) (?:go ahead|proceed|continue|process|cancel|book)|are you (?:sure|okay|ok|happy|ready|certain)"
    r"|(?:is|are|does|do|would|will) (?:this|that|these|those|everything|it|all(?: of)? (?:this|that|the)|the (?:above|following|information|details))\b"
    r"[^?]{0,80}\b(?:correct|okay|ok|fine|right|accurate|acceptable|work|good|suit|sound|look)\b[^?]{0,40}\?"
    r"|yes ?(?:/|or) ?no|(?:reply|respond|answer|say|type|write|confirm)(?: with)?(?: an?)?(?: explicit)? ['\"(]{0,2}yes\b"
    r"|(?:please |kindly |can you |could you |you )(?:\w+ )?(?:confirm|approve|authori[sz]e|agree)\b"
    r"(?! (?:your|the|their|a|an|me|us|his|her) (?:\w+ ){0,3}(?:id|email|name|number|zip|address|date|phone|code|method|reason|identity|birth))"
    r"|(?:need|require|have|await|get|ask for) your (?:explicit )?(?:confirmation|approval|consent|permission|go-ahead|authori[sz]ation)"
    r"|let me know (?:if|whether) (?:you(?:'d| would)? (?:like|want|wish|agree|confirm|are|prefer)|you're|this|that|these|everything|i (?:should|can|may)|it)"
    r"|(?:if|once|when) you (?:confirm|agree|approve)|your (?:confirmation|approval) (?:to|before)|want me to|like me to|ready to (?:proceed|go)"
    r"|okay to proceed|ok to proceed|good to go)"
)
_OPEN_QUESTION = re.compile(r"\b(?:how|what|which|when|where) (?:\w+ ){0,3}?(?:would|do|did|should|shall|are) (?:you|we)\b")
_REQUEST = re.compile(
    r"\b(?:(?:can|could|would|may|might|will) (?:you|i|we) (?:please |kindly |also |first |just |be able to |so kindly )*"
    r"(?:please )?(?:provide|give|share|tell|specify|send|supply|clarify|verify|confirm|have|get|ask|enter|list|describe|select"
    r"|choose|indicate|state|upload|remind|let (?:me|us) know|double[- ]check|check|advise|elaborate|explain|know|walk|try)"
    r"|(?:please|kindly) (?:\w+ )?(?:provide|share|tell|give|specify|let (?:me|us) know|enter|supply|send|clarify|indicate|verify|select|choose"
    r"|list|describe|reply|respond|state|upload|include|confirm|answer|advise|check|try|explain|restart|run|turn|toggle|go to|navigate)"
    r"|(?:i|we)(?:'ll| will| would|'d)?(?: also| still| just| first| only| now)? (?:need|require|like) (?:your|the|to (?:know|verify|confirm|have|get)|some|a few|more|you to"
    r"|both|either|one of|additional|further|any|an?|at least|two|following)|(?:may|can|could) i (?:please )?(?:have|get|ask|know|see)"
    r"|let (?:me|us) know (?:your|the|which|what|who|how|when|where|whether|if you have|about|any)|all i need|what i need"
    r"|(?:is|are|will be) (?:required|needed)\b|(?:once|after|when) you(?:'ve| have)? (?:provide|share|send|confirm|give|tell)d?)"
)
_REFUSAL = re.compile(
    r"\b(?:cannot|can not|can't|could not|couldn't|unable to|not able to|(?:not|isn't|aren't) (?:allowed|permitted|possible|eligible|authori[sz]ed|qualified"
    r"|available|supported|refundable|covered|within|valid|modifiable|changeable|offered)|won't|will not|wouldn't"
    r"|must (?:decline|deny|refuse)|have to (?:decline|deny|refuse)|against (?:our|the|company) polic|ineligible|non-?refundable|"
    r"do(?:es)? not (?:allow|permit|qualify|meet|support|have the|offer|cover|include|exist|apply|provide)"
    r"|do(?:es)?n't (?:allow|permit|qualify|meet|support|have the|offer|cover|include|exist|apply|provide)"
    r"|(?:policy|policies|rules|regulations) (?:prohibits?|prevents?|restricts?|forbids?)|no longer|only (?:be )?(?:possible|allowed|permitted|available)"
    r"|denied|declined|rejected|prohibited|restricted from|not something i|outside (?:of )?(?:my|our|the)|beyond (?:my|our|the)|i'm afraid|i am afraid"
    r"|unfortunately|regret|no exceptions?|unavailable)\b|\bsorry,? (?:but|order|i|we|that|this|the|your|it|there|no)\b"
)
_NEGATION = word_set(
    """
    no not never none nothing neither nor without cannot can't don't doesn't didn't won't isn't aren't wasn't weren't
    haven't hasn't couldn't wouldn't shouldn't unable unavailable unfortunately sorry afraid
    """
)
_DONE_VERBS = (
    r"(?:cancel+ed|booked|updated|changed|modified|exchanged|returned|refunded|processed|completed|upgraded|downgraded|added"
    r"|removed|issued|created|submitted|scheduled|rescheduled|confirmed|transferred|deleted|reset|activated|enabled|disabled"
    r"|sent|placed|purchased|applied|credited|charged|set|closed|opened|resolved|fixed|installed|paid|made|approved|registered"
    r"|initiated|finali[sz]ed|reserved|saved|unsuspended|resumed|suspended|restored|moved|switched|reinstated|done)"
)
_DONE = re.compile(
    rf"\b(?:(?:has|have|had|was|were|is|are|been|being|i've|we've|you've|it's|got) (?:\w+ )?(?:now |been |all |already |successfully |just )*(?:\w+ly )?{_DONE_VERBS}"
    rf"|successfully|i (?:just |already )?{_DONE_VERBS}|all set|(?:it|that|everything)(?:'s| is) (?:all )?(?:done|set|complete|taken care of)"
    rf"|^done\b|taken care of|is (?:now )?complete\b|been successful|was successful)"
)
_HYPOTHETICAL = re.compile(
    r"\b(?:once|if|when|after|before|until|unless|can|could|may|would|will|to|should|must|not|n't|cannot|only|that (?:was|were|has|have)"
    r"|which|originally|previously|need|needs) (?:\w+ ){0,6}$"
)
_HANDOVER = re.compile(
    r"\b(?:transfer+(?:ring|red)?|connect(?:ing|ed)?|escalat(?:ing|ed|e)|hand(?:ing|ed)? (?:this|you) (?:over|off)|forward(?:ing|ed)?|put(?:ting)? you through)\b"
    r"[^.?!]{0,60}\b(?:agent|human|representative|specialist|supervisor|team|department|person|colleague|manager|support)\b"
)
_PROMISE = re.compile(
    r"\b(?:(?:please )?(?:hold on|hang on|bear with|wait|stand by)|(?:one|just a|a) (?:moment|second|minute)"
    r"|(?:i|we)(?:'ll| will|'m going to| am going to| shall| can now|'m now| am now)\b|let me\b|(?:i'm|i am|we're|we are) (?:\w+ )?\w+ing\b)"
)


@dataclass(frozen=True, slots=True)
class Acts:
    """What a message does.

    Attributes:
        consent: Asks the user to agree to something.
        request: Asks the user for information.
        refuses: Says that something cannot be had or done.
        negates: Uses any negation at all.
        done: Reports something as carried out.
        handover: Passes the user to somebody else (and does not ask whether to).
        promise: Says what the agent will do next.
        closing: Nothing of substance: thanks, greetings, offers of more help.
        asked: The pieces of information asked for, by name, or stems where no name is known.
        deeds: What is asked, refused or reported to be done: `cancel`, `refund`, …
        substance: The message without chat and offers.
        facts: The facts of the substance.
    """

    consent: bool
    request: bool
    refuses: bool
    negates: bool
    done: bool
    handover: bool
    promise: bool
    closing: bool
    asked: frozenset[str]
    deeds: frozenset[str]
    substance: str
    facts: Facts

    @property
    def asks(self) -> bool:
        """Whether the user has to answer."""
        return self.consent or self.request
