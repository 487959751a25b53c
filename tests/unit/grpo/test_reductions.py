"""Weights of tokens: by hand, and that they make one average of the step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.grpo.options import CHOICES
from pivot.grpo.reductions import REDUCTIONS, token_weights

LENGTHS, GROUPS = torch.tensor([1, 3, 5]), torch.tensor([0, 0, 7])


def weights(reduction: str, counted: tuple[bool, bool, bool]) -> list[float]:
    return token_weights(reduction, LENGTHS, GROUPS, torch.tensor(counted)).tolist()


@pytest.mark.parametrize(
    ("reduction", "counted", "expected"),
    [
        ("token", (True, True, True), (1 / 9, 1 / 9, 1 / 9)),
        ("sequence", (True, True, True), (1 / 3, 1 / 9, 1 / 15)),
        ("group", (True, True, True), (1 / 8, 1 / 8, 1 / 10)),
        ("token", (True, False, True), (1 / 6, 0, 1 / 6)),
        ("sequence", (True, False, True), (1 / 2, 0, 1 / 10)),
        ("group", (True, False, True), (1 / 2, 0, 1 / 10)),
        ("token", (False, False, True), (0, 0, 1 / 5)),
        ("group", (False, False, True), (0, 0, 1 / 5)),  # a group that is masked whole is no group
        ("sequence", (False, False, False), (0, 0, 0)),
    ],
)
def test_weights_by_hand(reduction: str, counted: tuple[bool, bool, bool], expected: tuple[float, ...]) -> None:
    assert weights(reduction, counted) == pytest.approx(expected, abs=1e-15)


def test_an_action_without_tokens_is_in_no_denominator() -> None:
    lengths, groups, counted = torch.tensor([0, 2]), torch.tensor([0, 1]), torch.tensor([True, True])
    for reduction in REDUCTIONS:
        assert token_weights(reduction, lengths, groups, counted).tolist() == [0, 0.5]


@pytest.mark.parametrize("reduction", sorted(REDUCTIONS))
@given(
    rows=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 4), st.booleans()), min_size=1, max_size=20),
    data=st.data(),
)
def test_weights_add_up_to_one_and_follow_a_permutation(reduction: str, rows: list, data: st.DataObject) -> None:
    lengths, groups, counted = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = token_weights(reduction, lengths, groups, counted)
    assert float((found * lengths).sum()) == pytest.approx(float(counted.any()), abs=1e-12)
    assert torch.equal(found > 0, counted)
    order = torch.tensor(data.draw(st.permutations(range(len(rows)))))
    permuted = token_weights(reduction, lengths[order], groups[order], counted[order])
    assert torch.equal(permuted, found[order])


def test_the_configuration_knows_every_reduction() -> None:
    assert sorted(CHOICES["reduction"]) == sorted(REDUCTIONS)
