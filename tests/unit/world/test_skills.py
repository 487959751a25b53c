"""The skills probe: exact scoring, held-out questions."""

import random
from collections import Counter

from pivot.world.skills import (
    CAPITALS,
    SKILLS,
    Question,
    is_held_out,
    make_question,
    make_questions,
    score_answer,
)


def test_answers_are_right():
    for question in make_questions(400, 0):
        subject = question.text.split(": ")[1].strip('"')
        right = {
            "copy": lambda s: s,
            "reverse": lambda s: "-".join(reversed(s.split("-"))),
            "add": lambda s: str(sum(map(int, s.split()))),
            "capital": lambda s: CAPITALS[s],
        }[question.skill](subject)
        assert question.answer == right


def test_questions_are_seeded_balanced_and_held_out():
    questions = make_questions(400, 0)
    assert questions == make_questions(400, 0) != make_questions(400, 1)
    assert Counter(q.skill for q in questions) == dict.fromkeys(SKILLS, 100)
    rng = random.Random(0)
    for skill in ("copy", "reverse"):
        assert all(is_held_out(q.text.split(": ")[1].strip('"')) for q in questions if q.skill == skill)
        trained = {make_question(rng, skill, held_out=False).text for _ in range(3000)}
        assert not trained & {q.text for q in questions}


def test_scoring_is_exact():
    question = Question("capital", "Capital: Arvia", "Tolm")
    assert score_answer(question, "Tolm")
    assert score_answer(question, " Tolm\n")
    for wrong in ("", "tolm", "Tolm.", "Tolm Tolm", "It is Tolm"):
        assert not score_answer(question, wrong)
