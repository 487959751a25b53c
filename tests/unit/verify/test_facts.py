"""Facts, dates, words and prose: what a paraphrase keeps."""

import pytest

from pivot.verify.dates import normal_date
from pivot.verify.facts import Facts, conflict, facts, spelled
from pivot.verify.prose import similarity
from pivot.verify.words import overlap, stem, topic


def found(text: str) -> dict[str, set[str]]:
    values = facts(text)
    return {name: set(value) for name in Facts.__slots__ if (value := getattr(values, name))}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1) Pay $1,234.50 (5%) to A.B@x.org.", {"numbers": {"1234.5", "5"}, "ids": {"a.b@x.org"}}),
        ("Order #W2378156, user mia_li_3668, ref 4856383.", {"ids": {"w2378156", "mia_li_3668", "4856383"}}),
        ("Flight HAT-136 from JFK to SEA", {"ids": {"hat136"}, "codes": {"jfk", "sea"}}),
        ("May 20th, 2024 or 2024-05-21 or 05/22/2024", {"dates": {"2024/5/20", "2024/5/21", "2024/5/22"}}),
        ("on 3 June or June 4", {"dates": {"?/6/3", "?/6/4"}}),
        ("at 06:00 AM, 2 PM, 14:30 or 12 a.m.", {"times": {"360", "840", "870", "0"}}),
        ("in 5-7 business days, a 24-hour window", {"spans": {"7200", "10080", "1440"}}),
        ("2 years, 24 months, 24 monthly payments", {"spans": {"24M"}}),
        ("1 hour 45 minutes, 105 minutes", {"spans": {"105"}}),
        ("1.5 million or 1,500,000, and 2 thousand", {"numbers": {"1500000", "2000"}}),
        ("ten different shirts, a two-year plan", {"numbers": {"10"}, "spans": {"24M"}}),
        ("the card that ends in 0915", {"ids": {"0915"}}),
        ("two checked bags, 3x, 15GB, 15 GB", {"numbers": {"2", "3", "15"}}),
        ("card ending in 7447", {"ids": {"7447"}}),
        ("007 and 7.00", {"numbers": {"7"}}),
        ("I think so; OK. One moment, for that one.", {}),
        ("YOU ARE BEING TRANSFERRED TO A HUMAN AGENT.", {}),
        ("- one\n2. two\n* three", {}),
        ("\uff11\uff12 apples for \u201cx\u201d", {"numbers": {"12"}}),
    ],
)
def test_facts_in_normal_form(text: str, expected: dict[str, set[str]]) -> None:
    assert found(text) == expected


def test_counts_in_words_are_told_from_digits() -> None:
    assert spelled("Two orders and 3 bags, one of them twice") == {"2"}


@pytest.mark.parametrize(
    ("left", "right", "conflicting"),
    [
        ("$30", "$31", {"30", "31"}),
        ("$30 and $31", "$30", set()),
        ("ABC123 for $5", "$6 for ABC123", {"5", "6"}),
        ("ABC123 for $5", "W1 on May 5", {"abc123", "w1"}),
        ("May 20, 2024", "May 20", set()),
        ("May 20, 2024", "May 20, 2023", {"2024/5/20", "2023/5/20"}),
        ("at 10 AM", "at 10 PM", {"600", "1320"}),
        ("24 months", "2 years", set()),
        ("24 hours", "24 days", {"1440", "34560"}),
    ],
)
def test_facts_conflict_where_each_side_has_its_own(left: str, right: str, conflicting: set[str]) -> None:
    assert conflict(facts(left), facts(right)) == conflict(facts(right), facts(left)) == conflicting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-20", "2024-05-20"),
        (" 2024/5/20 ", "2024-05-20"),
        ("May 20, 2024", "2024-05-20"),
        ("20th of May 2024", "2024-05-20"),
        ("20-May-2024", "2024-05-20"),
        ("05/20/2024", "2024-05-20"),
        ("20.05.2024", "2024-05-20"),
        ("05/05/2024", "2024-05-05"),
        ("05/06/2024", None),
        ("2024-02-30", None),
        ("2024-05-20T10:00:00Z", "2024-05-20T10:00:00+00:00"),
        ("2024-05-20 12:00+02:00", "2024-05-20T10:00:00+00:00"),
        ("2024-05-20T10:00", "2024-05-20T10:00:00"),
        ("0001-01-01T00:00:00+23:00", None),
        ("May 2024", None),
        ("2024-05-20 or so", None),
        ("\u0662\u0660\u0662\u0664-05-20", None),
        ("12345678", None),
    ],
)
def test_dates_that_can_be_read_in_one_way(text: str, expected: str | None) -> None:
    assert normal_date(text) == expected


def test_stems_are_shared_by_forms_of_a_word() -> None:
    for forms in (
        ("cancel", "cancelled", "canceled", "cancelling", "cancellation", "cancels"),
        ("modify", "modified", "modifies", "modification"),
        ("reserve", "reserved", "reservation", "reservations"),
        ("refund", "refunded", "refunds"),
    ):
        assert len({stem(form) for form in forms}) == 1, forms
    assert stem("is") == "is"


def test_overlap_is_dice_on_topic_words() -> None:
    assert overlap(topic("cancel the flight"), topic("flights were cancelled, and the hotel")) == pytest.approx(4 / 5)
    assert overlap(topic("the"), topic("flight")) == 0.0
    assert overlap(topic(""), topic("")) == 0.0


def test_similarity_of_prose() -> None:
    account = "Customer Mia Li (mia_li_3668) wants to cancel reservation ABC123 because of illness."
    assert similarity(account, account.upper()) == 1.0
    assert similarity(account, "Mia Li asks for the cancellation of ABC123, being ill.") >= 0.5
    assert similarity(account, account.replace("ABC123", "XYZ789")) == 0.0
    assert similarity("Has insurance for the flight", "Has no insurance for the flight") == 0.0
    assert similarity("Customer wants a lamp", "The weather is nice") == 0.0
    assert similarity("x " * 20_000, "y") == 0.0
