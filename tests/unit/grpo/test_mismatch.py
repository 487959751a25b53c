"""Corrections of the mismatch between trainer and engine: factors and metrics by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pivot.grpo.mismatch import KINDS, Correction, importance, mismatch_stats
from pivot.grpo.options import CHOICES
from pivot.grpo.stats import merge_stats, summarise

# Ratios of the tokens of three actions: products 4, 1/16 and 16; geometric means 2, 1/4 and 4.
RATIOS = torch.tensor([6.0, 2 / 3, 2 / 3, 3 / 32, 16.0, 1.0], dtype=torch.float64)
ACTIONS = torch.tensor([0, 0, 1, 1, 2, 2])
ENGINE = torch.full((6,), -3.0, dtype=torch.float64)
TRAINER = ENGINE + RATIOS.log()


@pytest.mark.parametrize(
    ("correction", "factors", "cut"),
    [
        (Correction("none"), [1, 1, 1, 1, 1, 1], []),
        (Correction("token_tis", cap=5), [5, 2 / 3, 2 / 3, 3 / 32, 5, 1], [0, 4]),
        (Correction("token_tis", cap=8), [6, 2 / 3, 2 / 3, 3 / 32, 8, 1], [4]),
        (Correction("sequence_tis", cap=5), [4, 4, 1 / 16, 1 / 16, 5, 5], [4, 5]),
        (Correction("icepop", low=0.6, high=7), [6, 2 / 3, 2 / 3, 0, 0, 1], []),
        (Correction("icepop", low=0.7, high=17), [6, 0, 0, 0, 16, 1], []),
        (Correction("none", sequence_threshold=3), [1, 1, 0, 0, 0, 0], []),
        (Correction("none", sequence_threshold=4.1), [1, 1, 1, 1, 1, 1], []),
        (Correction("token_tis", cap=5, sequence_threshold=3), [5, 2 / 3, 0, 0, 0, 0], [0, 4]),
        (Correction("sequence_tis", cap=2, sequence_threshold=3), [2, 2, 0, 0, 0, 0], [0, 1, 4, 5]),
    ],
)
def test_factors_by_hand(correction: Correction, factors: list[float], cut: list[int]) -> None:
    found, at_cap = importance(TRAINER, ENGINE, ACTIONS, correction)
    assert found.tolist() == pytest.approx(factors, abs=1e-12)
    assert at_cap.nonzero().flatten().tolist() == cut


@pytest.mark.parametrize("kind", KINDS)
def test_engine_and_trainer_alike_need_no_correction(kind: str) -> None:
    correction = Correction(kind, cap=1.0, low=1.0, high=1.0, sequence_threshold=1.0001)
    factors, cut = importance(TRAINER, TRAINER.clone(), ACTIONS, correction)
    assert factors.tolist() == [1.0] * 6
    assert not cut.any()


def test_factors_carry_no_gradient() -> None:
    trainer = TRAINER.clone().requires_grad_()
    factors, _ = importance(trainer, ENGINE, ACTIONS, Correction("token_tis"))
    assert not factors.requires_grad


def test_a_product_beyond_all_numbers_is_the_cap() -> None:
    trainer, engine = torch.zeros(300), torch.full((300,), -5.0)
    factors, cut = importance(trainer, engine, torch.zeros(300, dtype=torch.int64), Correction("sequence_tis", cap=2.0))
    assert factors.tolist() == [2.0] * 300
    assert cut.all()


@pytest.mark.parametrize("kind", KINDS)
@given(deltas=st.lists(st.floats(-3, 3), min_size=2, max_size=12), data=st.data())
def test_an_action_is_corrected_by_its_own_tokens(kind: str, deltas: list[float], data: st.DataObject) -> None:
    correction = Correction(kind, cap=2.0, low=0.5, high=2.0, sequence_threshold=1.5)
    actions = torch.tensor(sorted(data.draw(st.lists(st.integers(0, 3), min_size=len(deltas), max_size=len(deltas)))))
    delta, engine = torch.tensor(deltas, dtype=torch.float64), torch.zeros(len(deltas), dtype=torch.float64)
    whole, _ = importance(delta, engine, actions, correction)
    for action in actions.unique():
        mine = actions == action
        alone, _ = importance(delta[mine], engine[mine], torch.zeros(int(mine.sum()), dtype=torch.int64), correction)
        assert torch.allclose(whole[mine], alone, atol=1e-12)


def test_metrics_by_hand() -> None:
    correction = Correction("token_tis", cap=5, sequence_threshold=3)
    stats = mismatch_stats(TRAINER, ENGINE, *importance(TRAINER, ENGINE, ACTIONS, correction))
    sums = merge_stats([stats]) | {"loss_sum": 0.0, "clipped_sum": 0.0, "entropy_sum": 0.0}
    logged = summarise(sums)
    gaps = [math.log(6), math.log(1.5), math.log(1.5), math.log(32 / 3), math.log(16), 0]
    total = 6 + 2 / 3 + 2 / 3 + 3 / 32 + 16 + 1
    assert logged == pytest.approx(
        {
            "trained_tokens": 6,
            "loss": 0,
            "clipped_fraction": 0,
            "entropy": 0,
            "logprob_gap_mean": sum(gaps) / 6,
            "logprob_gap_max": math.log(16),
            "ratio_mean": total / 6,
            "ratio_max": 16,
            "ratio_min": 3 / 32,
            "ratio_above_2": 2 / 6,
            "ratio_below_half": 1 / 6,
            "mismatch_kl": (total - 6 - math.log(4 / 16 * 16)) / 6,
            "mismatch_error": (6 + 1.5 + 1.5 + 32 / 3 + 16 + 1) / 6,
            "mismatch_truncated": 2 / 6,
            "mismatch_masked": 4 / 6,
        },
        abs=1e-6,
    )


@pytest.mark.parametrize("cut", range(1, 6))
def test_metrics_of_two_micro_batches_merge_to_those_of_one(cut: int) -> None:
    factors = torch.ones(6, dtype=torch.float64)
    at_cap = torch.zeros(6, dtype=torch.bool)
    columns = (TRAINER, ENGINE, factors, at_cap)
    whole = merge_stats([mismatch_stats(*columns)])
    parts = [mismatch_stats(*(column[part] for column in columns)) for part in (slice(cut), slice(cut, None))]
    nothing = mismatch_stats(*(column[:0] for column in columns))
    assert all(float(value) == 0 for value in nothing.values())
    assert merge_stats([*parts, nothing]) == pytest.approx(whole, abs=1e-6)


def test_the_configuration_knows_every_correction() -> None:
    assert sorted(CHOICES["mismatch"]) == sorted(KINDS)
