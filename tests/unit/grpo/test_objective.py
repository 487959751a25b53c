"""The loss of a micro-batch: values by hand, finite differences, and what must change nothing."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pivot.grpo.losses import Clip, Kl
from pivot.grpo.mismatch import Correction, importance
from pivot.grpo.objective import Objective, batch_loss, token_losses
from pivot.grpo.stats import merge_stats

PLAIN = Objective(Clip(0.2, 0.28), Correction("none"))
ENGINE = replace(PLAIN, old_logprobs="engine")
OBJECTIVES = {
    "policy": PLAIN,
    "engine": ENGINE,
    "dual clip": replace(ENGINE, clip=Clip(0.2, 0.28, 1.5)),
    "entropy": replace(PLAIN, entropy=0.1),
    "token_tis": replace(PLAIN, correction=Correction("token_tis", cap=1.2)),
    "sequence_tis": replace(PLAIN, correction=Correction("sequence_tis", cap=1.2)),
    "icepop": replace(PLAIN, correction=Correction("icepop", low=0.8, high=1.3)),
    "threshold": replace(ENGINE, correction=Correction("none", sequence_threshold=1.1)),
    "k1": replace(PLAIN, kl=Kl(0.3, "k1", "loss")),
    "k2": replace(PLAIN, kl=Kl(0.3, "k2", "loss")),
    "k3": replace(ENGINE, kl=Kl(0.3, "k3", "loss")),
    "reward": replace(PLAIN, kl=Kl(0.3, "k1", "reward")),
    "everything": Objective(Clip(0.1, 0.2, 2.0), Correction("token_tis", 1.2, sequence_threshold=1.2), "policy", 0.1,
                            Kl(0.3, "k3", "loss")),
}  # fmt: skip
COLUMNS = ("logprobs", "entropy", "sampled", "advantages", "weights", "actions", "reference")


def tokens(seed: int = 0, lengths: tuple[int, ...] = (3, 1, 4, 2)) -> dict[str, Tensor]:
    """Columns of a micro-batch of actions of these lengths."""
    generator = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    noise = [torch.randn(count, generator=generator, dtype=torch.float64) for _ in range(4)]
    actions = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    sampled = -noise[0].abs() - 0.2
    weights = torch.rand(len(lengths), generator=generator, dtype=torch.float64)[actions]
    return {
        "logprobs": sampled + 0.15 * noise[1],
        "entropy": noise[2].abs(),
        "sampled": sampled,
        "advantages": torch.randn(len(lengths), generator=generator, dtype=torch.float64)[actions],
        "weights": weights,
        "actions": actions,
        "reference": sampled + 0.3 * noise[3],
    }


def run(objective: Objective, columns: dict[str, Tensor]) -> tuple[float, Tensor, Tensor, dict[str, float]]:
    """Loss, gradients by logprobs and entropy, merged statistics."""
    logprobs, entropy = (columns[name].clone().requires_grad_() for name in ("logprobs", "entropy"))
    rest = {name: columns[name] for name in COLUMNS[2:]}
    loss, stats = batch_loss(objective, logprobs, entropy, **rest)
    loss.backward()
    spread = torch.zeros_like(entropy) if entropy.grad is None else entropy.grad
    return loss.item(), logprobs.grad, spread, merge_stats([stats])


def test_everything_at_once_by_hand() -> None:
    """Two actions of one token each; trainer / engine is 2 and 1/2, capped at 1.5; reference = engine."""
    objective = Objective(Clip(0.2, 0.2), Correction("token_tis", 1.5), "policy", 0.1, Kl(0.5, "k1", "loss"))
    sampled = torch.tensor([-2.0, -2.0], dtype=torch.float64)
    columns = {
        "logprobs": sampled + torch.tensor([math.log(2), -math.log(2)], dtype=torch.float64),
        "entropy": torch.tensor([0.7, 0.9], dtype=torch.float64),
        "sampled": sampled,
        "advantages": torch.tensor([2.0, -1.0], dtype=torch.float64),
        "weights": torch.tensor([0.25, 0.75], dtype=torch.float64),
        "actions": torch.tensor([0, 1]),
        "reference": sampled,
    }
    loss, gradient, spread, stats = run(objective, columns)
    first = 1.5 * (-2.0 + 0.5 * math.log(2)) - 0.1 * 0.7
    second = 0.5 * (1.0 - 0.5 * math.log(2)) - 0.1 * 0.9
    assert loss == pytest.approx(0.25 * first + 0.75 * second, abs=1e-12)
    expected = [0.25 * 1.5 * (-2.0 + 0.5 * (1 + math.log(2))), 0.75 * 0.5 * (1.0 + 0.5 * (1 - math.log(2)))]
    assert gradient.tolist() == pytest.approx(expected, abs=1e-12)
    assert spread.tolist() == pytest.approx([-0.025, -0.075], abs=1e-12)
    assert (stats["tokens_sum"], stats["clipped_sum"], stats["mismatch_truncated_sum"]) == (2, 0, 1)
    assert stats["entropy_sum"] == pytest.approx(1.6)
    assert stats["kl_sum"] == pytest.approx(0.5 + 2 - 2)  # k3: 1/2 - 1 + log 2 and 2 - 1 - log 2
    assert stats["loss_sum"] == pytest.approx(loss)


def test_against_the_engine_the_clip_bounds_the_mismatch() -> None:
    columns = tokens()
    columns["logprobs"] = columns["sampled"] + math.log(2)
    columns["advantages"] = torch.ones(10, dtype=torch.float64)
    loss, gradient, _, stats = run(ENGINE, columns)
    assert loss == pytest.approx(-1.28 * float(columns["weights"].sum()), abs=1e-12)
    assert not gradient.any()
    assert stats["clipped_sum"] == 10
    loss, gradient, _, stats = run(PLAIN, columns)
    assert loss == pytest.approx(-float(columns["weights"].sum()), abs=1e-12)
    assert torch.allclose(gradient, -columns["weights"], atol=1e-12)
    assert stats["clipped_sum"] == 0


def test_where_the_engine_is_the_trainer_both_choices_are_one() -> None:
    columns = tokens()
    columns["logprobs"] = columns["sampled"].clone()
    assert torch.equal(run(PLAIN, columns)[1], run(ENGINE, columns)[1])


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"k2"}))
def test_gradients_match_finite_differences(name: str) -> None:
    """What is held fixed in the step is held fixed here: old logprobs and factors. (k2: see test_losses.)"""
    objective, columns = OBJECTIVES[name], tokens()
    factors, _ = importance(columns["logprobs"], columns["sampled"], columns["actions"], objective.correction)
    old = columns["sampled"] if objective.old_logprobs == "engine" else columns["logprobs"]

    def frozen(logprobs: Tensor, entropy: Tensor) -> Tensor:
        losses = token_losses(
            objective, logprobs, entropy, old, factors, columns["advantages"], columns["reference"]
        )  # fmt: skip
        return (columns["weights"] * losses).sum()

    _, by_logprobs, by_entropy, _ = run(objective, columns)
    for column, gradient in (("logprobs", by_logprobs), ("entropy", by_entropy)):
        for index in range(len(gradient)):
            steps = torch.zeros_like(gradient)
            steps[index] = 1e-6
            moved = [columns | {column: columns[column] + sign * steps} for sign in (1, -1)]
            up, down = (frozen(each["logprobs"], each["entropy"]) for each in moved)
            assert ((up - down) / 2e-6).item() == pytest.approx(gradient[index].item(), abs=1e-7)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@given(
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    homes=st.lists(st.integers(0, 3), min_size=6, max_size=6),
)
@settings(max_examples=20)
def test_any_split_of_the_actions_adds_up_to_the_whole(name: str, lengths: list[int], homes: list[int]) -> None:
    """Micro-batches or data-parallel ranks, it is the same: parts of whole actions, some of them empty."""
    objective, columns = OBJECTIVES[name], tokens(1, tuple(lengths))
    loss, gradient, spread, stats = run(objective, columns)
    total, parts = 0.0, []
    for home in range(4):
        mine = torch.tensor([homes[action] == home for action in columns["actions"].tolist()])
        part = {column: values[mine] for column, values in columns.items()}
        part["actions"] = part["actions"].unique(return_inverse=True)[1]
        part_loss, part_gradient, part_spread, part_stats = run(objective, part)
        total += part_loss
        parts.append({key: torch.tensor(value, dtype=torch.float64) for key, value in part_stats.items()})
        assert torch.allclose(part_gradient, gradient[mine], atol=1e-12)
        assert torch.allclose(part_spread, spread[mine], atol=1e-12)
    assert total == pytest.approx(loss, abs=1e-12)
    assert merge_stats(parts) == pytest.approx(stats, abs=1e-5)  # counts and sums of float32 masks


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@given(padding=st.integers(1, 6))
@settings(max_examples=5)
def test_padding_and_masked_tokens_change_nothing(name: str, padding: int) -> None:
    objective, columns = OBJECTIVES[name], tokens(2)
    filler = {column: torch.full((padding,), -0.5, dtype=values.dtype) for column, values in columns.items()}
    filler |= {"weights": torch.zeros(padding, dtype=torch.float64), "actions": torch.full((padding,), 4)}
    padded = {column: torch.cat([values, filler[column]]) for column, values in columns.items()}
    loss, gradient, spread, stats = run(objective, columns)
    padded_loss, padded_gradient, padded_spread, padded_stats = run(objective, padded)
    assert padded_loss == pytest.approx(loss, abs=1e-12)
    assert torch.allclose(padded_gradient[:10], gradient, atol=1e-12)
    assert torch.allclose(padded_spread[:10], spread, atol=1e-12)
    assert not padded_gradient[10:].any()
    assert not padded_spread[10:].any()
    assert padded_stats == pytest.approx(stats)


def test_a_rank_without_samples_adds_nothing_and_keeps_the_graph() -> None:
    for objective in OBJECTIVES.values():
        loss, gradient, _, stats = run(objective, {column: values[:0] for column, values in tokens().items()})
        assert loss == 0
        assert gradient is not None
        assert all(value == 0 for value in stats.values())


def test_a_kl_in_the_loss_needs_a_reference() -> None:
    columns = tokens()
    rest = {name: columns[name] for name in COLUMNS[2:-1]}
    with pytest.raises(ValueError, match="reference"):
        batch_loss(OBJECTIVES["k1"], columns["logprobs"], columns["entropy"], **rest)
    _, stats = batch_loss(OBJECTIVES["reward"], columns["logprobs"], columns["entropy"], **rest)
    assert "kl_sum" not in stats


@pytest.mark.parametrize(
    ("name", "needs"),
    [("policy", True), ("engine", True), ("entropy", False), ("k1", False), ("reward", True)],
)
def test_which_objectives_move_tokens_without_an_advantage(name: str, needs: bool) -> None:
    columns = tokens() | {"advantages": torch.zeros(10, dtype=torch.float64)}
    _, gradient, spread, _ = run(OBJECTIVES[name], columns)
    assert OBJECTIVES[name].needs_advantage == needs
    assert bool(gradient.any() or spread.any()) == (not needs)
