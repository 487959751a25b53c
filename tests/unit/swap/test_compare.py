"""What a probe makes of two sets of logprobs."""

from __future__ import annotations

import math

import pytest
import torch

from pivot.swap import SwapError
from pivot.swap.probe import compare

POLICY = [torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -4.0, -5.0])]


def test_the_largest_gap_is_found_with_its_place() -> None:
    result = compare(POLICY, [[-1.0, -2.25], [-3.0, -4.5, -5.0]])
    assert (result.max_gap, result.mean_gap, result.tokens) == (0.5, 0.15, 5)
    assert (result.sequence, result.position, result.policy, result.engine) == (1, 2, -4.0, -4.5)
    result.check(0.5)
    with pytest.raises(SwapError, match=r"sequence 1, token 2, logprob -4\.500000 in the engine, -4\.0"):
        result.check(0.49)


def test_places_count_from_the_start_of_the_sequence() -> None:
    result = compare(POLICY, [[-1.0, -2.25], [-3.0, -4.5, -5.0]], starts=[7, 11])
    assert (result.sequence, result.position) == (1, 12)


def test_not_a_number_never_passes() -> None:
    result = compare(POLICY, [[-1.0, math.nan], [-3.0, -40.0, -5.0]])
    assert (result.sequence, result.position) == (0, 2)
    with pytest.raises(SwapError, match="sequence 0, token 2"):
        result.check(1e9)


def test_other_lengths_are_an_error() -> None:
    with pytest.raises((ValueError, RuntimeError)):
        compare(POLICY, [[-1.0, -2.0]])
