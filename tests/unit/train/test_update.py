"""The update: gradients by hand, what is left out, and that no cut of the batch changes anything."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pivot.grpo.losses import Clip, Kl
from pivot.grpo.mismatch import Correction
from pivot.grpo.objective import Objective
from pivot.mine.groups import Group
from pivot.train.batches import Packing
from pivot.train.update import Grpo, update
from tests.unit.train.update_fakes import VOCAB, Bigram, World, group, logits, sample

PLAIN = Objective(Clip(0.2, 0.2), Correction())
GRPO = Grpo("group", "token", PLAIN, temperature=1.0, packing=Packing(1000))
EVERYTHING = Objective(
    Clip(0.2, 0.28, 3.0), Correction("token_tis", 1.1, sequence_threshold=1.5), "policy", 0.01, Kl(0.1, "k3", "loss")
)
ALL = Grpo("leave_one_out", "group", EVERYTHING, 0.8, Packing(1000), malformed_advantage=-5.0, mask_over_long=True)
IN_REWARD = replace(GRPO, objective=replace(PLAIN, kl=Kl(0.2, "k1", "reward")), mask_over_long=True)
ENGINE = replace(GRPO, objective=replace(PLAIN, old_logprobs="engine"), estimator="unnormalised")
SEQUENCE = replace(GRPO, reduction="sequence", estimator="mean")
SETTINGS = {"plain": GRPO, "everything": ALL, "reward": IN_REWARD, "sequence": SEQUENCE, "engine": ENGINE}


def step(
    groups: list[Group], grpo: Grpo, *, ranks: int = 1, reference: bool = True
) -> tuple[Tensor, dict[str, float], int]:
    """Gradient, statistics (the same on every rank), and how many samples were forwarded on all ranks."""
    world = World(ranks)
    policies: dict[int, Bigram] = {}

    def work() -> dict[str, float]:
        policies[world.rank()] = policy = Bigram(logits(0), world)
        start: Any = Bigram(logits(1), world) if reference else None
        return update(policy, start, groups, grpo, 0.1)  # type: ignore[arg-type]

    results = world.run(work)
    assert all(result == results[0] for result in results)
    gradients = [policy.gradient for policy in policies.values()]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)
    return gradients[0], results[0], sum(policy.forwarded for policy in policies.values())


def pull(rows: list[tuple[Any, float]]) -> Tensor:
    """Minus the gradient of the sum over samples of coefficient * logprob, by autograd on the table itself."""
    table = logits(0).requires_grad_()
    logs = table.log_softmax(1)
    total = sum(
        coefficient * logs[before, after]
        for one, coefficient in rows
        for before, after in zip((1, *one.token_ids[:-1]), one.token_ids, strict=True)
    )
    (-total).backward()  # type: ignore[union-attr]
    assert table.grad is not None
    return table.grad


SAMPLES = [sample(i, length) for i, length in enumerate((2, 3, 4, 1))]
UNIFORM = group([sample(10, 5), sample(11, 9)], [1, 1])


@pytest.mark.parametrize(
    ("reduction", "weights"),
    [
        ("token", [1 / 24] * 4),
        ("sequence", [1 / (6 * length) for length in (2, 3, 4, 1)]),
        ("group", [1 / 20] * 4),  # 2 groups, this one of 10 tokens
    ],
)
def test_the_gradient_is_that_of_the_weighted_logprobs(reduction: str, weights: list[float]) -> None:
    """On-policy and uncorrected: sum of -weight * advantage * grad logprob; a uniform group only dilutes it."""
    gradient, stats, forwarded = step([group(SAMPLES, [1, 0, 0, 1]), UNIFORM], replace(GRPO, reduction=reduction))
    pulls = [weight * sign for weight, sign in zip(weights, (1, -1, -1, 1), strict=True)]
    rows = list(zip(SAMPLES, pulls, strict=True))
    assert torch.allclose(gradient, pull(rows), atol=1e-6)
    assert forwarded == 4
    assert stats["grad_norm"] == pytest.approx(float(gradient.norm()))
    assert stats["trained_tokens"] == 10
    loss = -sum(each * length for each, length in zip(pulls, (2, 3, 4, 1), strict=True))
    assert stats["loss"] == pytest.approx(loss, abs=1e-5)


def test_a_step_of_uniform_groups_changes_nothing() -> None:
    world = World(1)
    policy: Any = Bigram(logits(0), world)
    stats = world.run(lambda: update(policy, None, [UNIFORM], GRPO, 0.1))[0]
    assert stats == {"loss": 0.0, "grad_norm": 0.0, "trained_tokens": 0.0}
    assert torch.equal(policy.logits, logits(0))
    silent = group(SAMPLES, ["error"] * 4)
    assert world.run(lambda: update(policy, None, [silent], GRPO, 0.1))[0] == stats
    assert world.run(lambda: update(policy, None, [], GRPO, 0.1))[0] == stats


def test_samples_without_a_verdict_leave_a_smaller_group() -> None:
    ragged = step([group(SAMPLES, [1, "error", 0, "error"])], GRPO)[0]
    small = step([group([SAMPLES[0], SAMPLES[2]], [1, 0])], GRPO)[0]
    assert torch.equal(ragged, small)


def test_the_malformed_penalty_reaches_groups_where_all_failed() -> None:
    failed = group(SAMPLES, ["malformed:not_json", "name_mismatch:x", "malformed", "unreadable:malformed"])
    gradient, _, forwarded = step([failed], replace(GRPO, malformed_advantage=-5.0))
    assert forwarded == 2
    assert torch.allclose(gradient, pull([(SAMPLES[0], -0.5), (SAMPLES[2], -0.5)]), atol=1e-6)
    mixed = group(SAMPLES, ["malformed:not_json", 1, 0, 1])
    gradient, _, _ = step([mixed], replace(GRPO, malformed_advantage=-5.0, estimator="mean"))
    expected = [(one, value / 10) for one, value in zip(SAMPLES, (-5, 0.5, -0.5, 0.5), strict=True)]
    assert torch.allclose(gradient, pull(expected), atol=1e-6)


def test_masked_over_long_actions_are_in_the_baseline_and_nowhere_else() -> None:
    long = sample(20, 6, finish="length")
    groups = [group([*SAMPLES[:2], long], [1, 0, "over_long"])]
    gradient, stats, forwarded = step(groups, replace(GRPO, estimator="mean", mask_over_long=True))
    assert (forwarded, stats["trained_tokens"]) == (2, 5)
    assert torch.allclose(gradient, pull([(SAMPLES[0], 2 / 3 / 5), (SAMPLES[1], -1 / 3 / 5)]), atol=1e-6)
    gradient, stats, forwarded = step(groups, replace(GRPO, estimator="mean"))
    assert (forwarded, stats["trained_tokens"]) == (3, 11)
    rows = [(SAMPLES[0], 2 / 3 / 11), (SAMPLES[1], -1 / 3 / 11), (long, -1 / 3 / 11)]
    assert torch.allclose(gradient, pull(rows), atol=1e-6)


def test_a_kl_in_the_reward_moves_the_advantages() -> None:
    """Reward 1 each; only the distance of the sampled actions from the start policy tells them apart."""
    groups = [group(SAMPLES[:2], [1, 1])]
    start = logits(1).log_softmax(1)
    distances = []
    for one in SAMPLES[:2]:
        pairs = zip((1, *one.token_ids[:-1]), one.token_ids, strict=True)
        reference = sum(float(start[before, after]) for before, after in pairs)
        distances.append(sum(one.logprobs) - reference)
    gradient, stats, _ = step(groups, replace(IN_REWARD, estimator="mean"))
    gap = 0.2 * (distances[0] - distances[1]) / 2
    assert torch.allclose(gradient, pull([(SAMPLES[0], -gap / 5), (SAMPLES[1], gap / 5)]), atol=1e-6)
    assert stats["kl_of_actions"] == pytest.approx(sum(distances) / 2, abs=1e-5)


@pytest.mark.parametrize("objective", [replace(PLAIN, entropy=0.1), replace(PLAIN, kl=Kl(0.1, "k3", "loss"))])
def test_entropy_and_kl_train_on_uniform_groups_too(objective: Objective) -> None:
    gradient, stats, forwarded = step([UNIFORM], replace(GRPO, objective=objective))
    assert forwarded == 2
    assert gradient.any()
    loss = 0.1 * stats["kl_to_start"] if objective.kl else -0.1 * stats["entropy"]
    assert stats["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_kl_without_a_reference_is_refused() -> None:
    for name in ("everything", "reward"):
        with pytest.raises(ValueError, match="reference"):
            step([group(SAMPLES, [1, 0, 0, 1])], SETTINGS[name], reference=False)
    assert "kl_to_start" not in step([group(SAMPLES, [1, 0, 0, 1])], GRPO, reference=False)[1]


GROUPS = [
    group(SAMPLES, [1, 0, "malformed:not_json", "error"]),
    UNIFORM,
    group([sample(30, 2), sample(31, 6, finish="length"), sample(32, 3)], [0.5, "over_long", 1]),
    group([sample(40, 1)], [1]),
    group([sample(41 + i, 1 + i % 3) for i in range(8)], [0, 0, 1, 0, 1, "malformed", 0, 0]),
]


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize(
    ("ranks", "budget", "shared"),
    [(1, 1, True), (1, 20, True), (1, 20, False), (2, 1000, True), (3, 15, True), (3, 15, False), (4, 1, True)],
)
def test_micro_batches_and_data_parallel_ranks_change_nothing(name: str, ranks: int, budget: int, shared: bool) -> None:
    gradient, stats, forwarded = step(GROUPS, SETTINGS[name])
    split = step(GROUPS, replace(SETTINGS[name], packing=Packing(budget, shared)), ranks=ranks)
    assert torch.allclose(split[0], gradient, atol=1e-12)
    assert split[1] == pytest.approx(stats, rel=1e-6)
    assert split[2] == forwarded
    assert gradient.abs().max() > 1e-3


def test_more_ranks_than_samples_leave_some_without() -> None:
    groups = [group(SAMPLES[:2], [1, 0])]
    whole, split = (step(groups, ALL, ranks=ranks) for ranks in (1, 4))
    assert torch.allclose(whole[0], split[0], atol=1e-12)
    assert split[1] == pytest.approx(whole[1], rel=1e-6)


@pytest.mark.parametrize("name", sorted(SETTINGS))
@settings(max_examples=5)
@given(data=st.data())
def test_the_order_of_a_group_changes_nothing(name: str, data: st.DataObject) -> None:
    shuffled = []
    for each in GROUPS:
        pairs = data.draw(st.permutations(list(zip(each.samples, each.verdicts, strict=True))))
        samples, verdicts = zip(*pairs, strict=True)
        shuffled.append(replace(each, samples=samples, verdicts=verdicts))
    gradient, stats, _ = step(GROUPS, SETTINGS[name])
    moved = step(data.draw(st.permutations(shuffled)), SETTINGS[name])
    assert torch.allclose(moved[0], gradient, atol=1e-7)
    assert moved[1] == pytest.approx(stats, rel=1e-5)


def test_an_update_makes_good_actions_likelier() -> None:
    """Fifty steps of the default settings on a table: success goes from rare to the rule."""
    world = World(1)
    policy: Any = Bigram(torch.zeros(VOCAB, VOCAB, dtype=torch.float64), world)
    default = replace(GRPO, objective=replace(PLAIN, correction=Correction("token_tis", 5.0)))
    generator = torch.Generator().manual_seed(0)

    def train() -> None:
        for _ in range(50):
            logprobs = policy.logits.detach().log_softmax(1)[1]
            drawn = torch.multinomial(logprobs.exp(), 8, replacement=True, generator=generator).tolist()
            samples = [replace(SAMPLES[0], token_ids=(token,), logprobs=(float(logprobs[token]),)) for token in drawn]
            update(policy, None, [group(samples, [float(token == 4) for token in drawn])], default, 1.0)

    world.run(train)
    assert float(policy.logits.softmax(1)[1, 4]) > 0.9
