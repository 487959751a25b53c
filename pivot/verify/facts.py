"""What a paraphrase cannot change: the ids, numbers, dates, times and codes of a text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from decimal import Decimal

from pivot.verify.dates import MONTH, month_number
from pivot.verify.texts import unicode_form
from pivot.verify.words import word_set

_LIST_MARKER = re.compile(r"(?m)^[ \t]{0,16}(?:\d{1,2}[.)]|[-*+\u2022])[ \t]")
_MONTH_FIRST = re.compile(rf"\b{MONTH} (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?\b")
_DAY_FIRST = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?{MONTH}(?:,? (\d{{4}}))?(?!\w)")
_ISO_DATE = re.compile(r"\b(\d{4})[-/](\d{2})[-/](\d{2})(?!\d)")
_YEAR_LAST = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b")
_TIME = re.compile(r"\b(\d{1,2})(?::(\d{2}))?(?::\d{2})? ?([ap])\.?m\b\.?|\b(\d{1,2}):(\d{2})(?::\d{2})?\b")
_SPAN = re.compile(
    r"(?<![\w.,$/-])(\d{1,4})(?: ?(?:-|to|or|and) ?(\d{1,4}))?[ -](?:business |working |calendar )?"
    r"(day|hour|hr|minute|min|week|month|year)(?:s|ly)?\b"
)
_HOURS_AND_MINUTES = re.compile(
    r"(?<![\w.,$/-])(\d{1,3}) ?(?:hours?|hrs?|h),?(?: and)? (\d{1,2}) ?(?:minutes?|mins?|m)\b"
)
# A span as minutes, or as months where it has no fixed number of them.
_MINUTES = {"minute": 1, "min": 1, "hour": 60, "hr": 60, "day": 1440, "week": 10080}
_MONTHS = {"month": 1, "year": 12}
_SCALED = re.compile(r"(?<![\w.,])(\d{1,6}(?:\.\d{1,6})?) (thousand|million|billion)\b")
_SCALES = {"thousand": 3, "million": 6, "billion": 9}
_ENDING = re.compile(r"\bend(?:ing|s)? (?:in|with) (\d{3,6})\b")
_MONEY = re.compile(r"(?:us)?[$\u20ac\u00a3]")
_NUMBER = re.compile(r"(\d{1,3}(?:,\d{3}){1,8}|\d{1,30})(\.\d{1,30})?")
_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
_WITH_UNIT = re.compile(
    r"(\d{1,12}(?:\.\d{1,6})?)-?(?:st|nd|rd|th|[kmg]b|kg|g|lbs?|km|mi|cm|mm|ft|in|hrs?|h|mins?|s|x)"
)
_WITH_WORD = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)-[a-z]{2,12}(?:-[a-z]{2,12})?")
_COUNTED = re.compile(
    r"\b(?:(two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b"
    r"(?=[ -](?!(?:one|two|three|four|five)\b)[a-z])"
    r"|(one)\b(?=[ -](?:checked|carry|free|non|business"
    r"|working|more|additional|extra|adult|child|passengers?|bags?|items?|orders?|reservations?|bookings?|flights?"
    r"|days?|weeks?|months?|years?|hours?|minutes?|seats?|tickets?|suitcases?|nights?|rooms?|people|persons?|certificates?"
    r"|cards?|options?|available|results?|files?|stops?\b)))"
)
_COUNTS = {
    word: str(number)
    for number, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], start=1
    )
}
_EDGES = ".,;:!?()[]{}<>\"'`*_~|/\\#-+="
_SPLIT = re.compile(r"[\s/|\u2192=]+|(?<=\w)[,;:](?=[A-Za-z])|-{2,}|->")
_LONGEST_TOKEN = 80
_SHORTEST_ID = 5  # digits; shorter plain numbers are amounts
_NO_CODES = word_set(
    """
    am api asap ceo cst cdt dob edt est eta faq gmt http https id ids json mdt mst nan no not ok okay pdf pdt pin pm
    please pst sms sql ssn sure url us usa usd eur gbp utc vip yes you your zip and are the for all or only must new
    html css important note
    """
)


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a text in normal form.

    Attributes:
        ids: Tokens with letters and digits, long numbers, e-mail addresses, snake_case names; lower case.
        numbers: Amounts and counts, without currency and unit.
        dates: `year/month/day`, with `?` for a year that is not said.
        times: Minutes since midnight.
        spans: Lengths of time as minutes (`60`) or months (`12M`): `2 years` are `24 months`.
        codes: Words in capitals, as airports have; lower case.
    """

    ids: frozenset[str]
    numbers: frozenset[str]
    dates: frozenset[str]
    times: frozenset[str]
    spans: frozenset[str]
    codes: frozenset[str]

    def all(self) -> frozenset[str]:
        """Every fact."""
        return self.ids | self.numbers | self.dates | self.times | self.spans | self.codes


def plain(text: str) -> str:
    """One line without list markers and typography."""
    return " ".join(_LIST_MARKER.sub(" ", unicode_form(text)).split())


def facts(text: str) -> Facts:
    """The facts of a text."""
    line = plain(text)
    found: dict[str, set[str]] = {item.name: set() for item in fields(Facts)}
    counted = _SCALED.sub(_unscaled, _COUNTED.sub(_in_digits, line.lower()))
    rest = _take_moments(counted, found)
    for raw in _SPLIT.split(rest):
        token = raw.strip(_EDGES)
        if token and len(token) <= _LONGEST_TOKEN:
            for kind, fact in _read(token):
                found[kind].add(fact)
    found["codes"] = set(_codes(line))
    return Facts(**{kind: frozenset(values) for kind, values in found.items()})


def spelled(text: str) -> frozenset[str]:
    """The counts that a text gives in words: `two orders`."""
    return frozenset(_in_digits(match) for match in _COUNTED.finditer(plain(text).lower()))


def _in_digits(match: re.Match[str]) -> str:
    return _COUNTS[match[1] or match[2]]


def _unscaled(match: re.Match[str]) -> str:
    """`3.4 million` in digits."""
    return f"{Decimal(match[1]).scaleb(_SCALES[match[2]]):,f}"


def _take_moments(text: str, found: dict[str, set[str]]) -> str:
    """Lower-case text without its dates and times, which are added to `found`."""

    def date(year: str | None, month: int, day: str) -> str:
        found["dates"].add(f"{year or '?'}/{month}/{int(day)}")
        return " "

    def clock(match: re.Match[str]) -> str:
        hour, minute = int(match[1] or match[4]), int(match[2] or match[5] or 0)
        if match[3]:
            hour = hour % 12 + (12 if match[3] == "p" else 0)
        found["times"].add(str(60 * hour + minute))
        return " "

    def span(match: re.Match[str]) -> str:
        found["spans"].update(_span(number, match[3]) for number in match.groups()[:2] if number)
        return " "

    def hours(match: re.Match[str]) -> str:
        found["spans"].add(str(60 * int(match[1]) + int(match[2])))
        return " "

    def card(match: re.Match[str]) -> str:
        found["ids"].add(match[1])
        return " "

    text = _ENDING.sub(card, text)
    text = _SPAN.sub(span, _HOURS_AND_MINUTES.sub(hours, text))
    text = _ISO_DATE.sub(lambda m: date(m[1], int(m[2]), m[3]), text)
    text = _YEAR_LAST.sub(lambda m: date(m[3], int(m[1]), m[2]), text)
    text = _MONTH_FIRST.sub(lambda m: date(m[3], month_number(m[1]), m[2]), text)
    text = _DAY_FIRST.sub(lambda m: date(m[3], month_number(m[2]), m[1]), text)
    return _TIME.sub(clock, text)


def _span(number: str, unit: str) -> str:
    return f"{int(number) * _MONTHS[unit]}M" if unit in _MONTHS else str(int(number) * _MINUTES[unit])


def _number(whole: str, part: str | None) -> str:
    return (whole.replace(",", "").lstrip("0") or "0") + (part or "").rstrip("0").rstrip(".")


def _read(token: str) -> Iterator[tuple[str, str]]:
    """What a lower-case token says, if it is no plain word."""
    if not any(char.isdigit() or char in "@_" for char in token):
        return
    money = _MONEY.match(token) is not None
    bare = _MONEY.sub("", token).rstrip("%").strip(_EDGES)
    if found := _NUMBER.fullmatch(bare):
        is_id = not money and found[2] is None and "," not in bare and len(bare) >= _SHORTEST_ID
        yield ("ids", bare) if is_id else ("numbers", _number(found[1], found[2]))
    elif found := _RANGE.fullmatch(bare):
        yield "numbers", _number(found[1], None)
        yield "numbers", _number(found[2], None)
    elif found := _WITH_UNIT.fullmatch(bare) or _WITH_WORD.fullmatch(bare):
        whole, dot, part = found[1].partition(".")
        yield "numbers", _number(whole, dot + part)
    elif any(char.isdigit() for char in token) or token.count("@") == 1 or "_" in token.strip("_"):
        yield "ids", token.removesuffix("'s").replace("-", "")


def _codes(line: str) -> Iterator[str]:
    """Words in capitals between words that are not: a text that shouts has none."""
    letters = [char for char in line[:2000] if char.isalpha()]
    if sum(char.isupper() for char in letters) * 2 > len(letters):
        return
    for raw in _SPLIT.split(line):
        token = raw.strip(_EDGES)
        if 3 <= len(token) <= 6 and token.isalpha() and token.isupper() and token.lower() not in _NO_CODES:
            yield token.lower()


def without_known_years(dates: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    """Dates, without the year where the other text names the same day without one."""
    return frozenset(
        "?" + date[date.index("/") :] if "?" + date[date.index("/") :] in others else date for date in dates
    )


def conflict(left: Facts, right: Facts) -> frozenset[str]:
    """Facts of one kind where each text has some that the other lacks; empty where one only says more."""
    for mine, theirs in (
        (left.ids, right.ids),
        (left.numbers, right.numbers),
        (without_known_years(left.dates, right.dates), without_known_years(right.dates, left.dates)),
        (left.times, right.times),
        (left.spans, right.spans),
        (left.codes, right.codes),
    ):
        if mine - theirs and theirs - mine:
            return mine ^ theirs
    return frozenset()
