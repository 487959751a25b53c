"""Arguments as NeMo-Gym's single-step environment compares them, quirks and all.

An actual value must be an instance of the expected one's Python type, so 1 is not 1.0 but true is 1; objects have
the same keys, so an extra optional argument fails; lists are ordered. Texts of two words or more are compared by
words in common over the sum of both counts, so the same text has 0.5; shorter ones must be equal as they are.
"""

from collections import Counter
from typing import Any

_ROUNDING = 1e-6
_FEWEST_WORDS = 2


def same(actual: Any, expected: Any, word_overlap: float) -> bool:
    """Whether two decoded values are equal there.

    Iterative, so that nesting costs no stack.

    Args:
        actual: The policy's value.
        expected: The expert's.
        word_overlap: Least overlap of texts, inclusive.
    """
    waiting = [(actual, expected)]
    while waiting:
        mine, wanted = waiting.pop()
        if not isinstance(mine, type(wanted)):
            return False
        if isinstance(wanted, dict):
            if mine.keys() != wanted.keys():
                return False
            waiting += [(mine[key], wanted[key]) for key in wanted]
        elif isinstance(wanted, list):
            if len(mine) != len(wanted):
                return False
            waiting += zip(mine, wanted, strict=True)
        elif not _same_scalar(mine, wanted, word_overlap):
            return False
    return True


def _same_scalar(mine: Any, wanted: Any, word_overlap: float) -> bool:
    if isinstance(wanted, str):
        return _same_text(mine, wanted, word_overlap)
    if isinstance(wanted, float):
        return abs(mine - wanted) < _ROUNDING
    return bool(mine == wanted)


def _same_text(mine: str, wanted: str, word_overlap: float) -> bool:
    one, other = mine.lower().split(), wanted.lower().split()
    if min(len(one), len(other)) < _FEWEST_WORDS:
        return mine == wanted
    return (Counter(one) & Counter(other)).total() / (len(one) + len(other)) >= word_overlap
