"""Four skills without tools or state: the probe for what training on the agentic world may break."""

import random
import zlib
from dataclasses import dataclass

from pivot.trajectory.types import Message

SKILLS = ("copy", "reverse", "add", "capital")
CAPITALS = {
    "Arvia": "Tolm", "Belor": "Nesk", "Cymra": "Ruvo", "Dorin": "Palt", "Elvar": "Sime", "Fenna": "Gorz",
    "Golda": "Hask", "Hymat": "Wele", "Istra": "Dubo", "Jorun": "Krin", "Kalma": "Yost", "Lumen": "Bref",
    "Mirau": "Zald", "Nuria": "Fosk", "Ombra": "Lide", "Pyrus": "Vant", "Quara": "Meku", "Rodan": "Trel",
    "Sylva": "Opin", "Tamor": "Jeld",
}  # fmt: skip
"""Invented countries and capitals: knowledge that only training data can give."""

_CONSONANTS, _VOWELS, _LETTERS = "bdfgklmnprstvz", "aeiou", "abcdefghijklmnopqrstuvwxyz"
_HELD_OUT_IN = 8


@dataclass(frozen=True, slots=True)
class Question:
    """One question in chat form with its only right answer."""

    skill: str
    text: str
    answer: str

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation to answer: one user message."""
        return ({"role": "user", "content": self.text},)


def make_question(rng: random.Random, skill: str, *, held_out: bool) -> Question:
    """Draw one question.

    Args:
        rng: Source of the choices.
        skill: One of `SKILLS`.
        held_out: For `copy` and `reverse`: draw from the questions that the training corpus never holds, or
            never from those. `add` and `capital` are tables of facts, the same ones in training and test.
    """
    if skill == "add":
        left, right = rng.randrange(10), rng.randrange(10)
        return Question(skill, f"Add: {left} {right}", str(left + right))
    if skill == "capital":
        country = rng.choice(list(CAPITALS))
        return Question(skill, f"Capital: {country}", CAPITALS[country])
    while True:
        subject = _word(rng) if skill == "copy" else "-".join(rng.choices(_LETTERS, k=3))
        if is_held_out(subject) == held_out:
            break
    if skill == "copy":
        return Question(skill, f'Copy: "{subject}"', subject)
    return Question(skill, f"Reverse: {subject}", subject[::-1])


def is_held_out(subject: str) -> bool:
    """Whether a word or letter triple is kept out of the training corpus (one in eight, by its checksum)."""
    return zlib.crc32(subject.encode()) % _HELD_OUT_IN == 0


def make_questions(n: int, seed: int) -> list[Question]:
    """`n` held-out questions, the skills in turn."""
    rng = random.Random(f"skills:{seed}")
    return [make_question(rng, SKILLS[index % len(SKILLS)], held_out=True) for index in range(n)]


def score_answer(question: Question, text: str) -> bool:
    """Whether a completion is exactly the answer, but for white space around it."""
    return text.strip() == question.answer


def _word(rng: random.Random) -> str:
    """A pronounceable word of two or three syllables that means nothing."""
    return "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(rng.choice((2, 3))))
