"""Logprobs with the vocabulary on one and two ranks, by chunks of rows, alone and inside Megatron's output layer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.parity.launch import launch
from tests.parity.logprob_workers import whole

WORKERS = Path(__file__).with_name("logprob_workers.py")
ROWS, HIDDEN, VOCAB = 10, 8, 24


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden = torch.randn(ROWS, HIDDEN, generator=generator)
    weight = 2 * torch.randn(VOCAB, HIDDEN, generator=generator)
    return hidden, weight, torch.randint(0, VOCAB, (ROWS,), generator=generator)


def close(actual: Tensor, expected: Tensor) -> bool:
    return bool((actual - expected).abs().max() < 1e-5 * expected.abs().max())


@pytest.mark.parametrize("ranks", [1, 2])
def test_slices_of_the_vocabulary_give_the_scores_and_gradients_of_the_whole(ranks: int) -> None:
    hidden, weight, targets = inputs()
    expected = whole(hidden, weight, targets)
    chunks = [1, 3, ROWS, 512]
    found = launch(WORKERS, "slices", ranks, hidden=hidden, weight=weight, targets=targets, parts=ranks, chunks=chunks)
    for rank, results in enumerate(found):
        assert len(results) == len(chunks)
        for result in results:
            assert close(result["scores"], expected["scores"])
            assert close(result["logits scores"], expected["scores"])
            assert close(result["hidden"], expected["hidden"])  # summed over the ranks
            assert close(result["weight"], expected["weight"].chunk(ranks)[rank])
            assert close(result["logits"], expected["logits"].chunk(ranks, 1)[rank])
    assert all(
        torch.equal(a["scores"], b["scores"]) for results in found for a, b in zip(results, found[0], strict=True)
    )


@pytest.mark.parametrize("sequence", [False, True], ids=["tensor", "sequence"])
def test_the_head_scores_in_the_place_of_megatrons_output_layer(sequence: bool) -> None:
    hidden, weight, _ = inputs()
    hidden = hidden.unsqueeze(1)
    rows, targets = torch.tensor([3, 3, 0, 9, 4, 3]), torch.tensor([1, 23, 12, 11, 0, 1])
    expected = whole(hidden, weight, targets, rows)
    found = launch(WORKERS, "layer", 2, hidden=hidden, weight=weight, rows=rows, targets=targets, sequence=sequence)
    for rank, results in enumerate(found):
        for result in results.values():
            assert close(result["scores"][:, 0].t(), expected["scores"])
            part = expected["hidden"].chunk(2)[rank] if sequence else expected["hidden"]
            assert close(result["hidden"], part)
            assert close(result["weight"], expected["weight"].chunk(2)[rank])
