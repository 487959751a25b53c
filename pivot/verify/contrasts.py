"""What two messages with the same words may still say differently: opposites, currencies, moments, files, totals."""

import re

from pivot.verify.words import word_set

_ON, _OFF = (rf"(?:turn|switch)(?:ed|ing|es)? (?:[\w'-]+ ){{0,4}}?{way}\b" for way in ("on", "off"))
# Where one message only says the one and the other only the other, they say the opposite.
_OPPOSITES = tuple(
    (re.compile(rf"\b(?:{one})"), re.compile(rf"\b(?:{other})"))
    for one, other in (
        (rf"{_ON}|enabl\w+|activat\w+", rf"{_OFF}|disabl\w+|deactivat\w+"),
        (r"resum(?:ed?|ing|es)\b|unsuspend\w*|reactivat\w+|reinstat\w+", r"suspend\w*"),
        (r"unlock\w*|unblock\w*", r"(?:lock|block)(?:ed|ing|s)?\b"),
        (r"connect(?:ed|ing)?\b", r"disconnect\w*"),
        (r"install(?:ed|ing|s)?\b", r"uninstall\w*"),
        (r"approv(?:ed|es|al)\b|accept(?:ed|s)?\b|granted", r"declin\w+|reject\w+|denied\b|refused"),
        (r"valid\b", r"invalid\b"),
        (r"active\b", r"inactive\b"),
        (r"paid\b", r"unpaid\b|overdue\b|past (?:its |the )?due\b|outstanding\b"),
        (r"free\b|no (?:[\w-]+ )?(?:fees?|costs?|charges?)\b|without (?:[\w-]+ )?(?:fees?|costs?|charges?)\b", r"(?!)"),
        (r"includ(?:e[ds]?|ing)\b", r"exclud(?:e[ds]?|ing)\b"),
        (r"succe(?:eds?|eded|ss|ssful|ssfully)\b|passed\b|passes\b", r"fail(?:ed|s|ure|ures|ing)?\b"),
        (r"increas\w+|rais(?:ed?|es|ing)\b", r"decreas\w+|reduc\w+"),
        (r"higher\b|more expensive\b", r"lower\b|cheaper\b|less expensive\b"),
        (r"above\b|over (?=[$\d])|more than\b|exceed\w*", r"below\b|under (?=[$\d])|less than\b|fewer than\b"),
        (r"at least\b|minimum\b", r"at most\b|maximum\b"),
        (r"cheapest\b|lowest\b|shortest\b|fastest\b", r"most expensive\b|highest\b|longest\b|slowest\b"),
        (r"earlier\b|earliest\b", r"later\b|latest\b"),
        (r"arriv\w+|land(?:s|ed|ing)\b", r"depart\w+|leav(?:e|es|ing)\b|takes? off\b"),
        (r"upgrad\w+", r"downgrad\w+"),
        (r"deposit\w*", r"withdr[ae]w\w*"),
        (r"faster\b", r"slower\b"),
        (r"full (?=refund|price|amount|payment)", r"partial\b|partly\b"),
        (r"one[- ]way\b", r"round[- ]?trip\b"),
        (r"domestic\b", r"international\b"),
        (r"incoming\b", r"outgoing\b"),
        (r"encrypt\w*", r"decrypt\w*"),
        (r"online\b", r"offline\b"),
        (r"in stock\b", r"out of stock\b|sold out\b"),
        (r"aisle\b", r"window\b"),
        (r"morning\b", r"evening\b|afternoon\b"),
    )
)
_NEGATED = re.compile(r"(?:\bnot|n't|\bnever|\bcannot|\bunable|\bwithout|\bnor|\bno longer)[ -](?:[\w'-]+ ){0,2}$")
_BEFORE = 40
_CURRENCIES = (
    ("usd", re.compile(r"\$|\busd\b|\bdollars?\b")),
    ("eur", re.compile(r"\u20ac|\beur\b|\beuros?\b")),
    ("gbp", re.compile(r"\u00a3|\bgbp\b|\bpounds? sterling\b|\bpounds\b")),
    ("yen", re.compile(r"\u00a5|\bjpy\b|\byen\b|\bcny\b|\byuan\b")),
    ("inr", re.compile(r"\u20b9|\binr\b|\brupees?\b")),
    ("chf", re.compile(r"\bchf\b|\bfrancs?\b")),
)
_MONEY = re.compile(r"[$\u20ac\u00a3\u00a5\u20b9] ?(\d{1,12}(?:,\d{3}){0,6}(?:\.\d{1,4})?)")
_AT_ONCE = re.compile(r"\b(?:immediate(?:ly)?|instant(?:ly)?|right away|straight away|at once)\b")
_MOMENT = re.compile(r"\b(?:today|tonight|tomorrow|yesterday|(?:next|last|this|coming) (?:week|month|year|weekend))\b")
# Ways to pay and other kinds of things with names of two words.
_KINDS = re.compile(
    r"\b(?:(?:gift|credit|debit|sim|boarding) (?:card|pass)|travel (?:certificate|insurance|voucher)"
    r"|original (?:payment|form|means))s?\b"
)
_FILE = re.compile(r"(?:[\w+-][\w.+-]*)?[\w+-]{2}\.[a-z]\w{0,4}")
_BLANK = re.compile(r"[\s=,;()\[\]\"'`]+")
_LONGEST_PATH, _MOST_PATHS = 200, 200
_NO_PATHS = word_set("and/or yes/no n/a w/o")


def opposed(mine: str, theirs: str) -> bool:
    """Whether one text says a thing of which the other only says the opposite: `turned on`, `turned off`."""
    return any(
        (one == {True} and other == {False}) or (one == {False} and other == {True})
        for one, other in zip(_poles(mine), _poles(theirs), strict=True)
    )


def _poles(text: str) -> list[set[bool]]:
    """Of each pair of opposites, which the text says; `not approved` counts as `declined`."""
    low = text.lower()
    return [
        {
            (side == 0) != (_NEGATED.search(low[max(0, match.start() - _BEFORE) : match.start()]) is not None)
            for side, pattern in enumerate(pair)
            for match in pattern.finditer(low)
        }
        for pair in _OPPOSITES
    ]


def currencies(text: str) -> frozenset[str]:
    """The currencies that a text names, by sign, code or word."""
    low = text.lower()
    return frozenset(name for name, pattern in _CURRENCIES if pattern.search(low))


def total(text: str) -> float | None:
    """The greatest amount of money with a sign."""
    return max((float(match[1].replace(",", "")) for match in _MONEY.finditer(text)), default=None)


def at_once(text: str) -> bool:
    """Whether something happens without delay."""
    return _AT_ONCE.search(text.lower()) is not None


def moments(text: str) -> frozenset[str]:
    """Days and weeks as seen from today, and `at once`."""
    low = text.lower()
    return frozenset(_MOMENT.findall(low)) | ({"at once"} if _AT_ONCE.search(low) else frozenset())


def kinds(text: str) -> frozenset[str]:
    """Things whose name has two words, of a written list: `gift card`."""
    return frozenset(found.removesuffix("s") for found in _KINDS.findall(text.lower()))


def foreign_paths(text: str, other: str) -> frozenset[str]:
    """Files and folders of a text that the other does not name, whole or by the end of the path."""
    known = _paths(other)
    return frozenset(
        path
        for path in _paths(text)
        if not any(f"/{path}".endswith(f"/{one}") or f"/{one}".endswith(f"/{path}") for one in known)
    )


def _paths(text: str) -> frozenset[str]:
    found: set[str] = set()
    for raw in _BLANK.split(text):
        token = raw.strip(":*<>|").rstrip(".!?/")
        if not 2 <= len(token) <= _LONGEST_PATH or token.lower() in _NO_PATHS or "@" in token:
            continue
        if token.startswith(("/", "~/", "./", "../")) or _FILE.fullmatch(token.rpartition("/")[2]):
            found.add(token.removeprefix("./").strip("/"))
        if len(found) >= _MOST_PATHS:
            break
    return frozenset(found)
