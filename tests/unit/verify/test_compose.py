"""Compositions: who decides, what an error does, what is reported as used."""

import pytest

from pivot.trajectory import Action
from pivot.verify import Context, Verdict, Verifier
from pivot.verify.compose import every, first, weighted
from pivot.verify.types import DECIDED, ERROR, UNDECIDED, Decide

ONE = Action("x")


def says(reward: float, reason: str = "r", status: str = DECIDED, used: tuple[str, ...] = ()) -> Verifier:
    return Verifier("fixed", lambda actual, expected, context: Verdict(reward, reason, used=used, status=status), "0")


def unreachable() -> Verifier:
    def decide(actual: Action, expected: Action, context: Context) -> Verdict:
        pytest.fail("asked after it was decided")

    return Verifier("never", decide, "0")


def ask(decide: Decide) -> Verdict:
    return decide(ONE, ONE, Context())


def test_the_first_decided_verdict_counts_and_nobody_else_is_asked() -> None:
    verdict = ask(first([says(0.0, "unsure", UNDECIDED), says(0.5, "half"), unreachable()]))
    assert (verdict.reward, verdict.reason, verdict.status) == (0.5, "half", DECIDED)


def test_where_nobody_decides_the_last_one_asked_counts() -> None:
    verdict = ask(first([says(0.7, "a", UNDECIDED), says(0.2, "b", UNDECIDED)]))
    assert (verdict.reward, verdict.reason, verdict.status) == (0.2, "b", UNDECIDED)


def test_an_error_is_final() -> None:
    for decide in (
        first([says(0.0, "unsure", UNDECIDED), says(0.0, "down", ERROR), unreachable()]),
        every([says(1.0), says(0.0, "down", ERROR), unreachable()]),
        weighted([says(1.0), says(0.0, "down", ERROR)], [1.0, 1.0]),
    ):
        verdict = ask(decide)
        assert (verdict.reason, verdict.status) == ("down", ERROR)


def test_all_must_pass_and_the_lowest_counts() -> None:
    verdict = ask(every([says(1.0, "match", used=("b",)), says(0.5, "half", used=("a", "b")), says(0.8)]))
    assert (verdict.reward, verdict.reason, verdict.used) == (0.5, "half", ("a", "b"))
    verdict = ask(every([says(0.5), says(0.0, "no"), unreachable()]))
    assert (verdict.reward, verdict.reason) == (0.0, "no")


def test_the_undecided_have_no_say_beside_the_decided() -> None:
    unsure = says(0.0, "unsure", UNDECIDED, ("z",))
    for decide in (every([unsure, says(1.0, "match")]), weighted([unsure, says(1.0, "match")], [9.0, 1.0])):
        assert ask(decide) == Verdict(1.0, "match")
    for decide in (every([unsure, unsure]), weighted([unsure, unsure], [1.0, 2.0])):
        assert ask(decide) == Verdict(0.0, "unsure", used=("z",), status=UNDECIDED)


def test_weighted_is_the_mean_and_names_what_costs_most() -> None:
    verdict = ask(
        weighted([says(0.5, "half", used=("b",)), says(0.0, "none", used=("a",)), says(1.0, "match")], [6, 2, 2])
    )
    assert verdict.reward == pytest.approx(0.5)
    assert (verdict.reason, verdict.used) == ("half", ("a", "b"))
    assert ask(weighted([says(1.0, "match"), says(1.0, "match")], [0.1, 0.2])).reward == 1.0
