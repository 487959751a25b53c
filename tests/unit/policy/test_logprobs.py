"""Logprobs and entropies by chunks of rows: exact values, gradients, and that the logits never exist as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pivot.policy.logprobs import hidden_logprobs, vocab_parallel_logprobs

ROWS, HIDDEN, VOCAB = 13, 6, 11


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, HIDDEN, generator=generator).to(dtype).requires_grad_()
    weight = (2 * torch.randn(VOCAB, HIDDEN, generator=generator)).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(0, VOCAB, (ROWS,), generator=generator)


def plain(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    log = torch.log_softmax(logits.float() / temperature, -1)
    return log.gather(-1, targets[:, None])[:, 0], -(log.exp() * log).sum(-1)


def backward(scores: tuple[Tensor, Tensor], *leaves: Tensor) -> tuple[Tensor, ...]:
    weights = torch.sin(torch.arange(2 * scores[0].numel(), dtype=torch.float32)).view(2, -1)
    return torch.autograd.grad((weights[0] * scores[0] + weights[1] * scores[1]).sum(), leaves)


def close(actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], bound: float) -> bool:
    """Whether the largest error is below ``bound``, or below its share of the largest value where that is over 1."""
    return all(
        (a - e).abs().max() < bound * e.abs().max().clamp_min(1.0) for a, e in zip(actual, expected, strict=True)
    )


def test_two_equal_logits_have_the_logprob_and_entropy_of_a_coin() -> None:
    logprob, entropy = hidden_logprobs(torch.ones(1, 1), torch.tensor([[3.0], [3.0]]), torch.tensor([1]))
    assert logprob.item() == pytest.approx(-0.693147, abs=1e-6)
    assert entropy.item() == pytest.approx(0.693147, abs=1e-6)


def test_a_temperature_of_two_halves_the_logits() -> None:
    weight = torch.tensor([[0.0], [2.0]])
    logprob, _ = hidden_logprobs(torch.ones(1, 1), weight, torch.tensor([0]), temperature=2.0)
    assert logprob.item() == pytest.approx(-1.313262, abs=1e-6)  # -log(1 + e)


@pytest.mark.parametrize("chunk", [1, 5, ROWS, 512])
@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_values_and_gradients_equal_autograd_on_the_whole(temperature: float, chunk: int) -> None:
    hidden, weight, targets = inputs()
    expected = plain(hidden @ weight.t(), targets, temperature)
    scores = hidden_logprobs(hidden, weight, targets, temperature=temperature, chunk_rows=chunk)
    assert close(scores, expected, 1e-5)
    assert close(backward(scores, hidden, weight), backward(expected, hidden, weight), 1e-5)


@pytest.mark.parametrize("chunk", [1, 5, 512])
def test_logits_are_not_changed_and_get_the_same_gradient(chunk: int) -> None:
    hidden, weight, targets = inputs()
    logits = (hidden @ weight.t()).detach().requires_grad_()
    before = logits.detach().clone()
    scores = vocab_parallel_logprobs(logits, targets, temperature=0.7, chunk_rows=chunk)
    gradient = backward(scores, logits)
    assert torch.equal(logits.detach(), before)
    assert close(gradient, backward(plain(logits, targets, 0.7), logits), 1e-5)


@pytest.mark.parametrize("part", [0, 1])
def test_only_one_of_the_results_is_used(part: int) -> None:
    hidden, weight, targets = inputs()
    ours = torch.autograd.grad(hidden_logprobs(hidden, weight, targets, chunk_rows=4)[part].sum(), (hidden, weight))
    expected = torch.autograd.grad(plain(hidden @ weight.t(), targets, 1.0)[part].sum(), (hidden, weight))
    assert close(ours, expected, 1e-5)


def test_a_frozen_weight_gets_no_gradient() -> None:
    hidden, weight, targets = inputs()
    frozen = hidden_logprobs(hidden, weight.detach(), targets)
    assert close(backward(frozen, hidden), backward(hidden_logprobs(hidden, weight, targets), hidden), 1e-9)
    assert weight.grad is None


def test_gradients_agree_with_finite_differences() -> None:
    hidden, weight, targets = inputs()
    (gradient,) = backward(hidden_logprobs(hidden, weight, targets, temperature=0.8, chunk_rows=3), hidden)

    def value(step: float) -> float:
        moved = hidden.detach().clone().double()
        moved[7, 2] += step
        scores = plain_double(moved @ weight.detach().double().t(), targets, 0.8)
        weights = torch.sin(torch.arange(2 * ROWS, dtype=torch.float64)).view(2, -1)
        return float((weights[0] * scores[0] + weights[1] * scores[1]).sum())

    assert gradient[7, 2].item() == pytest.approx((value(1e-5) - value(-1e-5)) / 2e-5, abs=1e-5)


def plain_double(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    log = torch.log_softmax(logits / temperature, -1)
    return log.gather(-1, targets[:, None])[:, 0], -(log.exp() * log).sum(-1)


def test_no_rows_give_no_scores_and_gradients_of_zero() -> None:
    hidden, weight, targets = inputs()
    scores = hidden_logprobs(hidden[:0], weight, targets[:0])
    assert [score.shape for score in scores] == [(0,), (0,)]
    (gradient,) = torch.autograd.grad((scores[0].sum() + scores[1].sum()), weight)
    assert torch.equal(gradient, torch.zeros_like(weight))


def test_bf16_keeps_fp32_scores_and_sums_the_weight_gradient_in_fp32() -> None:
    hidden, weight, targets = inputs(torch.bfloat16)
    expected = plain(hidden @ weight.t(), targets, 1.0)
    scores = hidden_logprobs(hidden, weight, targets, chunk_rows=1)
    assert scores[0].dtype is scores[1].dtype is torch.float32
    assert close(scores, expected, 1e-5)
    ours, reference = backward(scores, hidden, weight), backward(expected, hidden, weight)
    assert [g.dtype for g in ours] == [torch.bfloat16] * 2
    # one rounding of the logits' gradient and of the result, whatever the number of chunks
    assert all(((o - r).abs().max() / r.abs().max()) < 2**-6 for o, r in zip(ours, reference, strict=True))


def test_logits_so_large_that_their_exponent_overflows() -> None:
    weight = torch.tensor([[300.0], [299.0], [-300.0]])
    logprob, entropy = hidden_logprobs(torch.ones(1, 1), weight, torch.tensor([1]))
    assert logprob.item() == pytest.approx(-1.313262, abs=1e-5)
    assert entropy.item() == pytest.approx(0.582203, abs=1e-5)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_the_logits_never_exist_as_a_whole() -> None:
    rows, vocab, chunk = 64, 500, 8
    hidden = torch.randn(rows, 4, requires_grad=True)
    weight = torch.randn(vocab, 4, requires_grad=True)
    targets = torch.randint(0, vocab, (rows,))
    with Largest() as chunked:
        logprob, entropy = hidden_logprobs(hidden, weight, targets, chunk_rows=chunk)
        (logprob.sum() + entropy.sum()).backward()
    with Largest() as whole:
        logprob, entropy = hidden_logprobs(hidden, weight, targets, chunk_rows=rows)
        (logprob.sum() + entropy.sum()).backward()
    assert chunked.elements == chunk * vocab
    assert whole.elements == rows * vocab
