"""Messages: the same kind with the same facts, and no reward for just any text."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pivot.trajectory import Action, ToolCall
from pivot.verify import Context, Verdict, build
from pivot.verify.acts import read, slots
from pivot.verify.contrasts import currencies, foreign_paths, kinds, moments, opposed, total
from pivot.verify.exchanged import exchanged
from pivot.verify.names import foreign_names, names, states, values
from pivot.verify.near_copies import substituted

guarded, lenient = build("message:guarded"), build("message:lenient")

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "message_pairs.jsonl").read_text().splitlines()]
SAME = [(pair["one"], pair["other"]) for pair in PAIRS if pair["reason"] == "match"]
DIFFERENT = [(pair["one"], pair["other"], pair["reason"]) for pair in PAIRS if pair["reason"] != "match"]


def score(actual: str, expected: str) -> Verdict:
    return guarded(Action(actual), Action(expected), Context())


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_message_in_other_words_earns_one_both_ways_round(one: str, other: str) -> None:
    assert score(one, other).reason == "match"
    assert score(other, one).reward == 1.0


@pytest.mark.parametrize(("actual", "expected", "reason"), DIFFERENT)
def test_another_message_earns_nothing_with_a_reason(actual: str, expected: str, reason: str) -> None:
    verdict = score(actual, expected)
    assert (verdict.reward, verdict.reason) == (0.0, reason)
    assert score(expected, actual).reward == 0.0


def test_any_text_is_enough_for_the_lenient_preset() -> None:
    expected = Action("Could you give me your user ID?")
    assert lenient(Action("Bananas."), expected, Context()).reward == 1.0
    assert lenient(Action(" \n"), expected, Context()).reason == "empty_message"
    assert lenient(Action("x", malformed="not_json"), expected, Context()).reason == "malformed:not_json"


def test_calls_are_left_to_others() -> None:
    call, other = Action(None, (ToolCall("f", "{}"),)), Action(None, (ToolCall("g", "{}"),))
    for verifier in (guarded, lenient):
        assert verifier(call, Action("Hi"), Context()).reason == "kind_mismatch:call"
        assert verifier(Action("Hi"), call, Context()).reason == "kind_mismatch:message"
        assert verifier(call, call, Context()).reason == "match"
        verdict = verifier(other, call, Context())
        assert (verdict.reward, verdict.reason, verdict.status) == (0.0, "other_calls", "undecided")


@pytest.mark.parametrize(
    ("text", "acts"),
    [
        ("Could you share your order number?", {"request"}),
        ("I'll need your zip code to continue.", {"request", "promise"}),
        ("Shall I cancel it?", {"consent"}),
        ("Please confirm to proceed (yes/no).", {"consent"}),
        ("Please confirm your email address.", {"request"}),
        ("I cannot do that.", {"refuses", "negates"}),
        ("Unfortunately, the flight is full.", {"refuses", "negates"}),
        ("I have cancelled order W1.", {"done"}),
        ("Order W1 will be cancelled tomorrow.", set()),
        ("I am transferring you to a human agent.", {"handover", "promise"}),
        ("Would you like me to transfer you to a human agent?", {"consent"}),
        ("If you wish, I can transfer you to a human agent.", set()),
        ("Let me check that for you.", {"promise"}),
        ("You're welcome! Anything else?", {"closing"}),
        ("It costs $5.", set()),
    ],
)
def test_acts(text: str, acts: set[str]) -> None:
    found = read(text)
    known = ("consent", "request", "refuses", "negates", "done", "handover", "promise", "closing")
    assert {name for name in known if getattr(found, name)} == acts


def test_what_is_asked_for() -> None:
    assert slots("could you please provide your user id and the reservation number?") == {"user_id", "reservation"}
    assert slots("may i have your email so i can find your order?") == {"email"}
    assert slots("what is your full name and zip code?") == {"name", "zip"}
    listed = "Please provide:\n1. Cabin class\n2. Payment method\n- Date of birth\nThank you!"
    assert read(listed).asked == {"cabin", "payment", "birth"}
    assert read("Which one would you like?").asked == {"choice"}
    assert read("Is the green lamp blinking?").asked == {"~green", "~lamp", "~blink"}


def test_chat_is_no_substance() -> None:
    text = "Great! Thank you for waiting, Mia. Your total is $30. Is there anything else I can help you with?"
    assert read(text).substance == "Your total is $30."
    assert read("I understand, but I cannot refund it.").substance == "I understand, but I cannot refund it."


def test_names_are_capitalised_words_inside_a_sentence() -> None:
    text = "Hi Mia Li! You fly to New York. I'm glad, I said: Bring a bag.\nNext line"
    assert names(text) == {"mia", "li", "york"}
    assert foreign_names("We meet at Elm St", "Elm Street is far") == frozenset()
    assert foreign_names("We meet at Elm St", "Oak Street is far") == {"elm"}


def test_states_and_values_are_found_in_all_spellings() -> None:
    assert states("Canceled, not SHIPPED; it will be delivered") == {"cancelled", "shipped"}
    assert states("overdue") == states("unpaid") == {"unpaid"}
    assert values("The Red one, in ECONOMY") == {"red", "economy"}


@given(st.text(max_size=60).filter(str.strip), st.text(max_size=60).filter(str.strip))
def test_comparison_is_reflexive_and_symmetric(one: str, other: str) -> None:
    assert score(one, one).reward == 1.0
    assert score(one, other).reward == score(other, one).reward


PARTS = st.lists(st.sampled_from(sorted({part for pair in SAME for part in pair})), min_size=1, max_size=3).map(
    " ".join
)


@given(PARTS, PARTS)
def test_comparison_of_real_sentences_is_symmetric(one: str, other: str) -> None:
    assert score(one, one).reward == 1.0
    assert score(one, other).reward == score(other, one).reward


def test_a_text_beyond_any_message_is_refused_unless_it_is_the_same() -> None:
    long = "word " * 4_000
    assert score(long, "word?").reason == "too_long"
    assert score("word?", long).reason == "too_long"
    assert score(long, long).reward == 1.0


@pytest.mark.parametrize(
    ("one", "other", "facts"),
    [
        ("A costs $5, B costs $7.", "A costs $7, B costs $5.", set()),
        ("The mug costs $5, the lamp costs $7.", "The lamp costs $5, the mug costs $7.", {"5", "7"}),
        ("The mug costs $5, the lamp costs $7.", "The lamp costs $7, the mug costs $5.", set()),
        ("The mug costs $5, the lamp costs $7.", "The mug costs $5.", set()),
        ("You fly from JFK to SEA", "You will fly SEA to JFK", {"jfk", "sea"}),
        ("Expected 9f2c41, got 0b77e3.", "It got 0b77e3 and expected 9f2c41.", set()),
    ],
)
def test_facts_are_exchanged_where_each_is_tied_to_what_the_other_was(one: str, other: str, facts: set[str]) -> None:
    assert exchanged(one, other) == exchanged(other, one) == facts


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Wi-Fi is turned on.", "Switch the Wi-Fi off.", True),
        ("It was approved.", "It was not approved.", True),
        ("It wasn't approved.", "It was declined.", False),
        ("Turn it on and then off.", "Turn it off.", False),
        ("It is free.", "There is no fee.", False),
    ],
)
def test_opposites_are_of_one_pair_and_negation_turns_them(one: str, other: str, expected: bool) -> None:
    assert opposed(one, other) is opposed(other, one) is expected


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Please restart the router.", "Please restart the phone.", {"router", "phon"}),
        ("Please restart the device.", "Please restart the phone.", set()),
        ("I fixed the lexer and the parser.", "I fixed the lexer.", {"parser"}),
        ("Move it from desk to shelf.", "Move it from shelf to desk.", {"desk", "shelf"}),
        ("Send it to Elm St now.", "Send it to Elm Street now.", set()),
        ("The lexer works.", "Which colour do you want?", set()),
    ],
)
def test_a_near_copy_differs_in_the_word_that_is_exchanged(one: str, other: str, expected: set[str]) -> None:
    assert substituted(one, other) == substituted(other, one) == expected


def test_files_and_terms_in_normal_form() -> None:
    assert foreign_paths("See src/a_b.py and /etc/x.", "In `a_b.py`, not ./etc/x") == frozenset()
    assert foreign_paths("See /etc/x.", "yes/no, e.g. /etc/xy") == {"etc/x"}
    assert currencies("$5 or 5 EUR") == {"usd", "eur"}
    assert moments("Right away, or next week") == {"at once", "next week"}
    assert kinds("Gift cards or the original payment method") == {"gift card", "original payment"}
    assert (total("$1,200.50 and $3"), total("3 dollars")) == (1200.5, None)


def test_markup_goes_and_underscores_of_names_stay() -> None:
    assert read("Run __now__ `test_a_b.py` for *mia_li_3*").substance == "Run now test_a_b.py for mia_li_3"
    assert read("Dr. Valdez is in. Ms. Li too.").substance == "Dr. Valdez is in.\nMs. Li too."
