"""The default verifiers hold what they reached on hand-labelled pairs."""

from typing import NamedTuple

import pytest

from benchmarks.labels import HALVES, MEASURED, Score, measure, read_pairs


class Floor(NamedTuple):
    """What a set's first verifier may not fall below on one half."""

    precision: float
    recall: float


# A little below what was measured: (development, held out).
FLOORS: dict[str, tuple[Floor, Floor]] = {
    "tool_call": (Floor(0.97, 0.88), Floor(0.92, 0.70)),
    "message": (Floor(0.96, 0.95), Floor(0.77, 0.67)),
    "terminal": (Floor(0.99, 0.54), Floor(0.99, 0.40)),
    "search": (Floor(0.96, 0.88), Floor(0.96, 0.74)),
}
LEAST_PAIRS = {"tool_call": 200, "message": 200, "terminal": 200, "search": 100}


@pytest.mark.parametrize("name", FLOORS)
def test_precision_and_recall_stay_above_their_floors(name: str) -> None:
    found = measure(name, MEASURED[name][0])
    assert sum(score.pairs for score in found.values()) >= LEAST_PAIRS[name]
    for half, floor in zip(HALVES, FLOORS[name], strict=True):
        assert found[half].precision >= floor.precision, (half, found[half])
        assert found[half].recall >= floor.recall, (half, found[half])


@pytest.mark.parametrize("name", FLOORS)
def test_every_pair_has_an_id_of_its_own_and_a_reason(name: str) -> None:
    pairs = list(read_pairs(name))
    assert len({pair.name for pair in pairs}) == len(pairs)
    assert [pair.name for pair in pairs if not pair.why.strip()] == []
    for half in HALVES:
        labels = {pair.equivalent for pair in pairs if pair.half == half}
        assert labels == {True, False}, half


def test_precision_and_recall_are_the_usual_shares() -> None:
    score = Score(true_positives=3, false_positives=1, false_negatives=2, true_negatives=4)
    assert (score.precision, score.recall, score.pairs) == (0.75, 0.6, 10)
    assert Score(0, 0, 2, 1).precision == 1.0
