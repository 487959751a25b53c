"""Messages: the same kind with the same facts, and no reward for just any text."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.trajectory import Action
from pivot.verify import Context, build
from pivot.verify.facts import facts, names, states
from pivot.verify.message import compare_messages, is_refusal, overlap

SAME = [
    ("Could you please give me your user ID?", "To help you I need your user ID. Could you provide it?"),
    ("Your total is $1,200.50.", "The total comes to 1200.5 dollars."),
    ("Flight HAT136 leaves on 2024-05-20.", "On May 20th, 2024 flight hat136 leaves."),
    ("It arrives on 3 June.", "It arrives on June 3rd"),
    ("1. JFK to SEA\n2. one bag", "- one bag\n- JFK to SEA"),
    ("I'm sorry, I cannot cancel order #W123.", "Unfortunately I am unable to cancel order W123, sorry."),
    ("Done.", "  done. "),
    ("Send order W1 to Oslo?", "Order W1 goes to oslo?"),
    ("Cancel order W1?", "Order W1 is pending. Cancel it?"),
    ("The order W1 was canceled.", "Order W1 was cancelled."),
    ("Thank you, Mia. It is done.", "It is done now, mia!"),
    ("**Total**: 30", "Total: 30.00"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_message_in_other_words_earns_one_both_ways_round(one: str, other: str) -> None:
    assert compare_messages(one, other).reason == "match"
    assert compare_messages(other, one).reward == 1.0


DIFFERENT = [
    ("", "Hello there.", "empty_message"),
    (" \n", "Hello there.", "empty_message"),
    ("Your user ID is fine.", "Could you give me your user ID?", "asks_or_tells"),
    ("The order has been cancelled.", "The order cannot be cancelled.", "refusal_mismatch"),
    ("Your total is 30.", "Your total is 31.", "facts_mismatch"),
    ("Your total is 30 and 31.", "Your total is 30.", "facts_mismatch"),
    ("Order W1 was sent to a@b.com.", "Order W1 was sent to a@c.com.", "facts_mismatch"),
    ("It leaves on 2024-05-20.", "It leaves on 2024-05-21.", "facts_mismatch"),
    ("You fly from JFK.", "You fly from SEA.", "facts_mismatch"),
    ("Send order W1 to Oslo?", "Send order W1 to Rome?", "names_mismatch"),
    ("Send order W1?", "Send order W1 to Rome?", "names_mismatch"),
    ("Order W1 is shipped.", "Order W1 is pending.", "states_mismatch"),
    ("Order W1 is here.", "Order W1 is pending.", "states_mismatch"),
    ("Is order W1 shipped?", "Is order W1 pending?", "states_mismatch"),
    ("Anything goes here, really!", "Your order is on its way.", "words_mismatch"),
    ("W1", "Your order W1 is on its way.", "words_mismatch"),
    ("?", "How can I help you today?", "words_mismatch"),
]


@pytest.mark.parametrize(("actual", "expected", "reason"), DIFFERENT)
def test_another_message_earns_nothing_with_a_reason(actual: str, expected: str, reason: str) -> None:
    verdict = build("functional")(Action(actual), Action(expected), Context())
    assert (verdict.reward, verdict.reason) == (0.0, reason)
    assert compare_messages(expected, actual).reward == 0.0


def test_facts_in_normal_form() -> None:
    text = "1) Pay $1,234.50 (5%) to A.B@x.org by May 3, 2024 or 04 June; ref mia_li_3668, JFK, HAT-136, 007."
    assert facts(text) == {
        "1234.5",
        "5",
        "a.b@x.org",
        "@date:2024/5/3",
        "@date:?/6/4",
        "mia_li_3668",
        "jfk",
        "hat-136",
        "7",
    }
    assert facts("nothing to see, I think; OK") == frozenset()


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    text = "Hi Mia Li! You fly to New York. I'm glad, I said: Bring a bag.\nNext line"
    assert names(text) == {"mia", "li", "new", "york"}
    assert names('He said "Go." Then O\'Neil left') == {"o", "neil"}


def test_states_are_found_in_both_spellings() -> None:
    assert states("Canceled, not SHIPPED; reship") == {"cancelled", "shipped"}


def test_refusals_are_found_in_both_apostrophes() -> None:
    assert is_refusal("I can\u2019t do that")
    assert is_refusal("That is NOT   possible.")
    assert is_refusal("Sorry, it is gone.")
    assert not is_refusal("I can do that.")


def test_overlap_is_dice_on_word_multisets() -> None:
    assert overlap("a b c", "A, b; d e") == pytest.approx(4 / 7)
    assert overlap("order W1 sent", "w2 sent 7") == pytest.approx(2 / 3)
    assert overlap("a a", "a") == pytest.approx(2 / 3)
    assert overlap("", "a") == 0.0
    assert overlap("?", "!") == 0.0


@given(st.text(max_size=60).filter(str.strip), st.text(max_size=60).filter(str.strip))
def test_comparison_is_reflexive_and_symmetric(one: str, other: str) -> None:
    assert compare_messages(one, one).reward == 1.0
    assert compare_messages(one, other).reward == compare_messages(other, one).reward


HOSTILE = {
    "x": 1_000_000,
    "1": 99_999,
    "1,": 49_999,
    "jan ": 24_999,
    "may 1 ": 16_000,
    "a@": 49_000,
    "1.\n": 33_000,
    "can not ": 12_000,
    "2024-05-": 12_000,
    "\u2022 ": 49_000,
    "$": 99_999,
    "1 of ": 19_000,
}


@pytest.mark.parametrize("text", [unit * count for unit, count in HOSTILE.items()], ids=range(len(HOSTILE)))
def test_hostile_text_takes_bounded_time(text: str) -> None:
    start = time.process_time()
    assert compare_messages(text, "Hello 5 of May?").reward == 0.0
    assert time.process_time() - start < 0.5


def test_a_text_beyond_any_message_is_refused_unless_it_is_the_same() -> None:
    long = "word " * 30_000
    assert compare_messages(long, "word?").reason == "too_long"
    assert compare_messages(long, long).reward == 1.0
