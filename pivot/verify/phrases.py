"""Written lists of phrases by which a message is understood, in English and in lower case.

Every repetition is bounded or of single words, so that no text makes matching slow.
"""

import re

from pivot.verify.words import word_set

OPENING = re.compile(
    r"(?:great(?: choice| news)?|perfect|certainly|of course|absolutely|ok(?:ay)?|all ?right|yes|yep|hello|hi|hey"
    r"|thanks"
    r"|thank you(?: (?:so|very) much)?|got it|understood|excellent|wonderful|i see|sure(?: thing)?|no (?:problem"
    r"|worries)"
    r"|good (?:morning|afternoon|evening|day)|sounds good|very well|noted|right|alright|welcome back|congratulations)"
    r"(?: there| again| everyone)?(?:,? (?:mr|ms|mrs|dr)\.? [a-z]{1,20})?[,.!:]{1,3}\s+"
)
CHAT = re.compile(
    r"(?!.{0,60}\bbut (?:i|we|it|this|that|the|your|you)\b)(?:you(?:'re|'ve been| are| have been) (?:now "
    r"|successfully |all )?(?:verified|authenticated|logged in)"
    r"|(?:i|we)(?:'ve| have)? (?:now |successfully )?(?:found|located|verified|retrieved|pulled up|accessed"
    r"|confirmed)"
    r" your (?:account|profile|user|identity|details|information)[^.]{0,30}[.]?$|thank(?:s| you)\b(?!.*\?)"
    r"|(?:i|we) (?:was|were) able to (?:find|locate|verify|retrieve|access|confirm) your (?:account|profile"
    r"|identity|details)"
    r"|you(?:'re| are) (?:very |most )?welcome|(?:it(?:'s| is| was) )?(?:my|a) pleasure"
    r"|i(?:'m| am|'d be| would be|'ll be| will be) (?:more than |so |very |always )?(?:happy|glad|pleased"
    r"|delighted|here|able)"
    r" (?:to (?:help|assist|hear)|i|that|you|for you|whenever|if)|(?:i'm )?(?:happy|glad|here) to (?:help|assist)"
    r"|glad (?:i|that|to)"
    r"|i (?:completely |fully |totally )?(?:understand|appreciate|apologi[sz]e|hear you|see)\b|my apologies"
    r"|apologies for"
    r"|(?:i(?:'m| am) )?(?:so |very |really |truly )?sorry (?:to hear|for|about|that you|you)|we(?:'re"
    r"| are) sorry (?:for|to hear|about)"
    r"|have a (?:\w+ ){0,3}(?:day|trip|flight|evening|weekend|time|one|night|week)|enjoy\b|safe travels|take care"
    r"|good ?bye|bye\b"
    r"|(?:please )?(?:do not|don't) hesitate|(?:please )?feel free|looking forward|best (?:regards|wishes)"
    r"|all the best|cheers"
    r"|i(?:'d| would| can| will|'ll| am able to)(?: be able to| certainly| definitely| gladly| also)? (?:help|assist)"
    r"(?: you)?(?: with (?:that|this|your [a-z ]{1,40}|the [a-z ]{1,40}|[a-z]{1,15}ing [a-z ]{1,40}|it))?(?: today"
    r"| right away)?[.!]?$"
    r"|let me (?:help|assist) you|let's get (?:this|that|started)|take your time|we (?:value|appreciate)"
    r"|no (?:problem|worries) at all"
    r"|(?:hello|hi|hey|sure|certainly|of course|absolutely|great|perfect|okay|no problem|no worries"
    r"|congratulations|welcome)\b[\w ,']{0,40}[.!]*$"
    r"|if you (?:\w+ ){0,3}(?:have|need|require|want|run into|change) (?:\w+ ){0,3}(?:questions?|help|assistance"
    r"|anything|concerns?|requests?"
    r"|your mind|support)|should you (?:have|need|require)|whenever you(?:'re| are) ready)"
)
ADDRESSED = re.compile(
    r"(?:thank(?:s| you)(?: so much| very much| again)?|hello|hi|hey|welcome|welcome back|good ?bye)"
    r",? (?:(?:mr|ms|mrs|dr)\.? )?[^\W\d_]{2,20}(?: [^\W\d_]{2,20})?[.!,]{1,3}$"
)
# That the user is who they say; nothing that a user waits for.
VERIFIED = re.compile(
    r"(?:(?:i|we)(?:'ve| have| was able to| were able to)? (?:\w+ ){0,2}(?:your |the )?(?:account|profile) and )?"
    r"(?:your|the) (?:identity|account) (?:is|has been|was) (?:now |successfully )*(?:verified|confirmed|authenticated)"
    r"[^.?,]{0,30}[.!]?$"
)
OFFER = re.compile(
    r"\b(?:anything else|something else|(?:if|is|are|do) (?:you|there) (?:have |need "
    r"|want )?any(?:thing)? (?:other|more|further|additional)\b|(?:any|other|further|more"
    r"|additional) (?:\w+ )?(?:questions?|assistance|help|requests?|concerns?|inquiries)"
    r"|how (?:else )?(?:can|may|could) i (?:help|assist|be of)|what (?:else )?(?:can|may|could) i (?:do|help|assist)"
    r"|what (?:would you like|do you need) (?:help|assistance) with)"
)
WEAK_OFFER = re.compile(r"\b(?:help|assist) you (?:further|with today|today)\b")
CONSENT = re.compile(
    r"\b(?:would you (?:also )?(?:like|prefer|want|be (?:okay|ok|willing|interested|open))|would you still like"
    r"|do you (?:still |also )?(?:want|wish|agree|confirm|accept|consent|approve|authori[sz]e|understand)\b"
    r"|(?:shall|should) (?:i|we)|(?:may|can) (?:i|we) (?:go ahead|proceed|continue|process|cancel|book)"
    r"|are you (?:sure|okay|ok|happy|ready|certain)"
    r"|(?:is|are|does|do|would|will) (?:this|that|these|those|everything|it|all(?: of)? (?:this|that|the)"
    r"|the (?:above|following|information|details))\b"
    r"[^?]{0,80}\b(?:correct|okay|ok|fine|right|accurate|acceptable|work|good|suit|sound|look)\b[^?]{0,40}\?"
    r"|yes ?(?:/|or) ?no|(?:reply|respond|answer|say|type|write"
    r"|confirm)(?: with)?(?: an?)?(?: explicit)? ['\"(]{0,2}yes\b"
    r"|(?:please |kindly |can you |could you |you |to )(?:\w+ )?(?:confirm|approve|authori[sz]e|agree)\b"
    r"(?=[,.:;!?)]|$| (?:that|if|whether|this|these|to|so|by|before|and|with|it|everything|all|once|now|here|below"
    r"|your (?:agreement|consent"
    r"|approval|intention|request|decision|wish)|the (?:details|booking|cancell?ation|change|above|following|order"
    r"|return|exchange|refund|update|upgrade"
    r"|modification|information|purchase|transaction|payment of|total)))"
    r"|(?:need|require|have|await|get|ask for) your (?:explicit )?(?:confirmation|approval|consent|permission"
    r"|go-ahead|authori[sz]ation)"
    r"|let me know (?:if|whether) (?:you(?:'d| would)? (?:like|want|wish|agree|confirm|are|prefer)|you're|this"
    r"|that|these|everything|i (?:should|can|may)|it)"
    r"|whether you(?:'d| would)? (?:still )?(?:want|like|wish|prefer)"
    r"|(?:if|once|when) you (?:confirm|agree|approve)|your (?:confirmation|approval) (?:to|before)|want me to"
    r"|like me to|ready to (?:proceed|go)"
    r"|okay to proceed|ok to proceed|good to go)"
)
OPEN_QUESTION = re.compile(
    r"(?:(?:so|and|now|then|or),? )?(?:which|what(?! about)|how(?! (?:about|does|would (?:that|it|this)))|when|where)\b"
    r"[^?]{0,160}\b(?:would|do|did|should|shall|are|can|may) (?:you|we|i|it|they|the)\b"
)
# A question with alternatives, which a yes does not settle.
ALTERNATIVES = re.compile(r"\bor\b(?! (?:not|no|anything|something|is|are|if)\b)")
# Questions that a yes does not settle, or that ask how things are and not what to do.
QUERY = re.compile(
    r"\b(?:what|which|who|whom|whose|when|where|why|how)\b"
    r"|^(?:and |so |but |now,? )?(?:do|did|have|has|is|are|was|were|does|can|could|will) (?:you|your|the|there|it"
    r"|they|this|that|any)\b"
)
REQUEST = re.compile(
    r"\b(?:(?:can|could|would|may|might|will) (?:you|i|we) (?:please |kindly |also |first |just |be able to "
    r"|so kindly |be (?:so )?(?:kind|good)(?: enough)?(?: as)? to )*"
    r"(?:please )?(?:provide|give|share|tell|specify|send|supply|clarify|verify|confirm|have|get|ask|enter|list"
    r"|describe|select"
    r"|choose|indicate|state|upload|remind|let (?:me|us) know|double[- ]check|check|advise|elaborate|explain|know"
    r"|walk|try)"
    r"|(?:please|kindly) (?:\w+ )?(?:provide|share|tell|give|specify|let (?:me|us) know|enter|supply|send|clarify"
    r"|indicate|verify|select|choose"
    r"|list|describe|reply|respond|state|upload|include|confirm|answer|advise|check|try|explain|restart|run|turn"
    r"|toggle|go to|navigate)"
    r"|(?:i|we)(?:'ll| will| would|'d)?(?: also| still| just| first| only| now)? (?:need|require|like) (?:your|the"
    r"|to (?:know|verify|confirm|have|get)|some|a few|more|you to"
    r"|both|either|one of|additional|further|any|an?|at least|two|following)|(?:may|can"
    r"|could) i (?:please )?(?:have|get|ask|know|see)"
    r"|let (?:me|us) know (?:your|the|which|what|who|how|when|where|whether|if you have|about|any)|all i need"
    r"|what i need"
    r"|(?:is|are|will be) (?:required|needed)\b|(?:once|after|when) you(?:'ve| have)? (?:provide|share|send"
    r"|confirm|give|tell)d?)"
)
REFUSAL = re.compile(
    r"\b(?:(?:i|we) can only|only able to|cannot|can not|can't|could not|couldn't|unable to|not able to|(?:not"
    r"|isn't|aren't) (?:allowed|permitted"
    r"|possible|eligible|authori[sz]ed|qualified"
    r"|available|supported|refundable|covered|within|valid|modifiable|changeable|offered)|won't|will not|wouldn't"
    r"|must (?:decline|deny|refuse)|have to (?:decline|deny|refuse)|against (?:our|the|company) polic|ineligible"
    r"|non-?refundable|"
    r"do(?:es)? not (?:allow|permit|qualify|meet|support|have the|offer|cover|include|exist|apply|provide)"
    r"|do(?:es)?n't (?:allow|permit|qualify|meet|support|have the|offer|cover|include|exist|apply|provide)"
    r"|(?:policy|policies|rules|regulations) (?:prohibits?|prevents?|restricts?|forbids?)"
    r"|no longer (?:available|possible|eligible|valid|offered|supported|allowed)|only (?:be )?(?:possible|allowed"
    r"|permitted|available)"
    r"|denied|declined|rejected|prohibited|restricted from|not something i|outside (?:of )?(?:my|our|the)"
    r"|beyond (?:my|our|the)|no exceptions?|unavailable)\b"
)
# Bad news, unless it softens a request.
REGRET = re.compile(
    r"\b(?:i'm afraid|i am afraid|unfortunately|regret)\b|\bsorry,? (?:but|order|i|we|that|this|the|your|it|there"
    r"|no)\b"
)
NEGATION = word_set(
    """
    no not never none nothing neither nor without cannot can't don't doesn't didn't won't isn't aren't wasn't weren't
    haven't hasn't couldn't wouldn't shouldn't unable unavailable unfortunately sorry afraid
    """
)
# Bad news or a bound that needs no word of negation.
BOUNDED = re.compile(
    r"\b(?:out of stock|sold out|fully booked|only (?:once|one|a single)|(?:once|time|one) only|a single|no more than"
    r"|not more than|expired|closed)\b"
)
# States and terms that others put as a negation: unpaid is not paid, free is without a fee.
PRIVATIVE = re.compile(
    r"\b(?:unpaid|overdue|past due|outstanding|inactive|invalid|incomplete|unknown|missing|free|lacks?|lacking|declined"
    r"|denied|rejected|disabled|closed|expired|out of|sold out|fails?|failed|empty|off|zero)\b"
)
# What the user is to do, and need not answer.
_STEPS = (
    r"(?:restart|reboot|run|turn|toggle|go to|navigate|open|reset|try|tap|press|click|switch|enable|disable|activate"
    r"|deactivate|install|uninstall|remove|insert|unplug|plug|connect|disconnect|dial|reseat|launch|type)\b"
)
INSTRUCTION = re.compile(
    rf"(?:^|[:,;] |\b(?:please|kindly|then|and) )"
    rf"(?:please |kindly |then |now |first |next |also |finally |just )*{_STEPS}"
)
ANSWER = re.compile(r"\b(?:tell|let|show|send|give) (?:me|us)\b|\b(?:share|provide|report|reply|respond)\b")
YES_NO = re.compile(r"\byes ?(?:/|or|,) ?no\b|\bor not\b")
DONE_VERBS = (
    r"(?:cancel+ed|booked|updated|changed|modified|exchanged|returned|refunded|processed|completed|upgraded"
    r"|downgraded|added"
    r"|removed|issued|created|submitted|scheduled|rescheduled|confirmed|transferred|deleted|reset|activated"
    r"|enabled|disabled"
    r"|sent|placed|purchased|applied|credited|charged|set|closed|opened|resolved|fixed|installed|paid|made"
    r"|approved|registered|reversed|reimbursed|sent back|rebooked|waived|replaced|renewed|extended|corrected"
    r"|unlocked|forwarded|filed|linked|renamed|deployed|finished"
    r"|initiated|finali[sz]ed|reserved|saved|unsuspended|resumed|suspended|restored|moved|switched|reinstated|done)"
)
DONE = re.compile(
    rf"\b(?:(?:has|have|had|(?:was|were)(?! (?:made|placed|created|booked|purchased|paid|sent|added|scheduled))"
    rf"|been|i've|we've|you've|got) (?:\w+ )?(?:now |been |all |already |successfully "
    rf"|just )*(?:\w+ly )?{DONE_VERBS}"
    rf"|(?:is|are|it's|they're) (?:(?:now|all|already|successfully) )+{DONE_VERBS}|(?:is|are) (?:set|done|complete"
    rf"|completed|booked(?! in)|cancel+ed|confirmed|approved|submitted)\b"
    rf"|successfully|i (?:just |already )?{DONE_VERBS}|all set|(?:it|that|everything)(?:'s| is) (?:all )?(?:done"
    rf"|set|complete|taken care of)"
    rf"|^done\b|taken care of|been successful|was successful)"
)
# What one may say instead of having done it: that it happened, or that it is so now.
PAST = re.compile(
    rf"\b(?:{DONE_VERBS}\b|(?:is|are|it's|they're) now (?:\w+ly )?(?:active|live|on|off|back|in|under|open|closed|free"
    rf"|working|gone|yours)\b|you(?:'re| are) (?:now )?on\b|on (?:its|the|their) way\b|finished\b)"
)
HYPOTHETICAL = re.compile(
    r"\b(?:(?:once|if|when|after|before|until|unless|whether|that|which) (?:[\w'-]+ ){0,6}|(?:can|could|may(?! \d)"
    r"|would|will|to|should|must|not|cannot"
    r"|originally|previously|need|needs|be|don't|doesn't|haven't|hasn't|wasn't|isn't) (?:[\w'-]+ ){0,2})$"
)
HANDOVER = re.compile(
    r"\b(?:transfer+(?:ring|red)?|connect(?:ing|ed)?|escalat(?:ing|ed|e)|hand(?:ing|ed)? (?:this|you) (?:over|off)"
    r"|forward(?:ing|ed)?|put(?:ting)? you through|pass(?:ing|ed)? (?:this|you|it) (?:on|over|along))\b"
    r"[^.?!]{0,60}\b(?:agent|human|representative|specialist|supervisor|team|department|person|colleague|manager"
    r"|support)\b"
    r"|\b(?:put(?:ting)? you through|(?:transfer|connect)(?:r?ing)? you)\b"
)
# A hand-over that is only offered, or is left to the user.
OFFERED = re.compile(
    r"\b(?:if|unless)\b"
    r"|\b(?:can|could|may|might|would|recommend|suggest|advise|should|able to|unable to|cannot|can't|like me to"
    r"|want me to)\b(?!.*(?:,|\bso\b|\band\b) (?:so )?(?:i'm|i am|i'll|i will|you are|you're|we're|we are|let me)\b)"
)
PROMISE = re.compile(
    r"\b(?:(?:please )?(?:hold on|hang on|bear with|wait|stand by)|(?:one|just a|a) (?:moment|second|minute)"
    r"|(?:i|we)(?:'ll| will|'m going to| am going to| shall| can now|'m now| am now)\b|let me\b|(?:i'm|i am|we're"
    r"|we are) (?:\w+ )?\w+ing\b)"
)

# What can be asked for. The first that fits a part of the request names it.
SLOTS = {
    "user_id": r"user ?-?(?:id|name|identification|number)|(?:customer|member(?:ship)?|account|profile|employee"
    r"|patient|student|client) (?:id|number|identification)|log-?in",
    "order": r"order (?:id|number|no\b|#|reference)|(?<!in )orders?\b",
    "reservation": r"(?:reservation|booking|confirmation|record|itinerary|pnr)s? ?(?:id|number|code|reference"
    r"|locator)?s?\b|pnr",
    "event": r"event (?:id|name|code)",
    "ticket": r"tickets? (?:ids?|numbers?)|ticket type",
    "email": r"e-?mail",
    "phone": r"(?:phone|mobile|telephone|cell|line|contact) numbers?",
    "zip": r"zip|postal code|postcode",
    "address": r"(?<!email )(?<!e-mail )(?<!mail )address",
    "birth": r"date of birth|dob\b|birth ?(?:date|day)|births? dates|born\b",
    "name": r"(?:full|first|last|legal|given|family) (?:and last )?names?|sur ?names?|names?\b",
    "payment": r"payment|credit card|debit card|gift card|pay\b|certificates?|card (?:number|ending)|billing|paypal"
    r"|(?:receive|get|want|prefer|like) (?:the|your|a) refund|refund(?:ed)? (?:to|method)",
    "cabin": r"cabin|class\b|economy|business class",
    "passengers": r"passengers?|travell?ers?|number of people|how many people|party size|guests?",
    "bags": r"bags?\b|baggage|luggage|suitcases?",
    "insurance": r"insurance",
    "reason": r"reasons?\b|why\b",
    "trip": r"one[- ]way|round[- ]?trip|trip type|type of trip",
    "origin": r"origin|(?:depart(?:ing)?|coming|start(?:ing)?) from|depart(?:ure|ing)? (?:city|airport|location)"
    r"|(?:flying|travell?ing|departing|leaving|fly"
    r"|travel) from|from where",
    "destination": r"destination|arrival (?:city|airport)|(?:flying|travell?ing|going|fly|travel|go) to|where to"
    r"|headed|heading",
    "date": r"dates?\b|when\b|what day|which day|check-in|check-out",
    "time": r"times?\b|what hour",
    "choice": r"which (?:\w+ ){0,3}(?:ones?|options?|flights?|items?|products?|orders?|reservations?|bookings?"
    r"|plans?|lines?|methods?|cards?)"
    r"|(?:one|any|either) of (?:these|those|the|them)|(?:option|choice|selection|preferred|prefer)(?:s| number)?\b"
    r"|flight numbers?"
    r"|like to (?:choose|select|book|go with)",
    "change": r"(?:what|which) (?:\w+ )?(?:changes?|modifications?|updates?)|(?:like|want|need|wish) to (?:change"
    r"|modify|update)|changes\b|modifications?\b",
    "items": r"items?\b|products?\b",
    "size": r"sizes?\b",
    "color": r"colou?rs?\b",
    "quantity": r"quantit|how many|number of (?!the\b|your\b|this\b)|how much|amount",
    "budget": r"budget|price range",
    "city": r"city|cities|town\b",
    "location": r"locations?\b|where\b|country|state\b|region",
    "account": r"account|identity",
    "device": r"device|phone model|router|modem|computer|laptop",
    "issue": r"issues?\b|problems?\b|error|symptoms?|happening|wrong",
    "screenshot": r"screenshot|photo|proof|receipt|picture|document|upload",
    "status": r"status|signal|see on|shows?\b|display",
}  # fmt: skip
# Slots that are only asked for by their number where something else is asked for as well.
BY_NUMBER = {
    "order": r"orders? (?:ids?|numbers?|no\b|#|references?)",
    "reservation": r"(?:reservation|booking|itinerary)s? (?:ids?|numbers?|codes?|references?)|pnr|confirmation|record",
}
# What is done to things, as one name for all its forms.
DEEDS = {
    "cancel": r"cancel\w*",
    "refund": r"refund\w*|reimburs\w*|revers(?:ed?|ing|al)\b|(?:money|sent|paid|credited) back",
    "exchange": r"exchang\w*|swap\w*|replac\w*",
    "return": r"return(?:ed|ing|s)?\b(?! (?:flight|trip|date|leg|journey|ticket|segment|option|time|itinerary"
    r"|to\b))|send back|take (?:it )?back",
    "keep": r"keep(?:ing)?\b|kept\b|retain\w*",
    "change": r"chang\w*|modif\w*|updat\w*|switch\w*|reschedul\w*|mov(?:e|ed|ing)\b|adjust\w*|edit\w*|correct(?:ed"
    r"|ing)",
    "upgrade": r"upgrad\w*",
    "downgrade": r"downgrad\w*",
    "book": r"book(?:ed|ing)?\b|reserv(?:e|ed|ing)\b|purchas\w*|buy\b|bought|plac(?:e|ed|ing) (?:the|an|your"
    r"|this) order",
    "add": r"add(?:ed|ing|s)?\b",
    "remove": r"remov\w*|delet\w*|eras\w*",
    "transfer": r"transfer\w*|connect you|escalat\w*|human agent",
    "pay": r"pay(?:ing)?\b|paid|charg(?:e|ed|ing)\b",
    "search": r"search\w*|look (?:for|up|into)|check (?:for|if|the|whether|availability)",
    "send": r"send(?:ing)?\b|sent\b|ship(?:ped|ping)?\b|deliver(?:ed|ing)?\b|email(?:ed|ing)\b",
    "reset": r"reset\w*|restart\w*|reboot\w*",
    "enable": r"enabl\w*|activat\w*|turn(?:ed|ing)? on|resum\w*|unsuspend\w*|reactivat\w*",
    "disable": r"disabl\w*|deactivat\w*|turn(?:ed|ing)? off|suspend\w*|paus\w*|stop(?:ped|ping)?\b",
    "apply": r"appl(?:y|ied|ying)\b|redeem\w*",
    "schedule": r"schedul\w*|appointment",
}
