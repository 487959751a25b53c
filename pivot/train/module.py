"""The PivotRL training step, as a LightningModule. `training_step` is the algorithm; the rest serves it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch

from pivot.attempt.running import Running
from pivot.clock import Clock
from pivot.mine.groups import Group, Scorer, Turn, sample_seed, verify
from pivot.policy import Policy
from pivot.rollout import Completion, Engine, Sampling
from pivot.rollout.begun import Begun
from pivot.shares import Shares, once, sampling_costs
from pivot.swap import Expected, Manifest, Swap, agree, blame, check_versions, marks
from pivot.train.memory import Memory, State
from pivot.train.monitor import reward_stats
from pivot.train.probing import Replicas, Scored, chosen, expect_shared
from pivot.train.refill import Draw, Quota, at_once, draw_stats, in_waves
from pivot.train.replay import missing_routes, replay_gap
from pivot.train.reuse import Reuse
from pivot.train.schedule import Schedule
from pivot.train.strategy import PolicyOptimizer
from pivot.train.update import Grpo, update

WAKE_TOKENS = 128
"""Tokens of a prompt that a probe compares where there are no samples yet."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step needs to know beyond its parts.

    `probe_always`: every time the engine is woken, for one whose sleep is not to be trusted. `probe_limits`: of the
    largest and the mean difference of logprobs.
    """

    seed: int
    prompts: int
    early_stop: bool
    group_size: int
    validation_samples: int
    sampling: Sampling
    schedule: Schedule
    kl_every: int
    probe_every: int
    probe_always: bool
    probe_sequences: int
    probe_limits: tuple[float, float]


class PivotModule(pl.LightningModule):
    """Single-turn GRPO on pivots with the engine colocated (paper eq. 7, design §1)."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy | None,
        engine: Engine,
        memory: Memory,
        manifest: Manifest,
        weights: Swap,
        scorer: Scorer,
        grpo: Grpo,
        settings: StepSettings,
        reuse: Reuse,
        running: Running,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.reference = reference
        self.engine = engine
        self.memory = memory
        self.manifest = manifest
        self.weights = weights
        self.scorer = scorer
        self.grpo = grpo
        self.settings = settings
        self.reuse = reuse
        self.running = running
        self.clock = Clock(running.beat)

    def training_step(self, turns: list[Turn], batch_idx: int) -> None:
        """One step: sample with the current weights, verify, update, swap the new weights into the engine."""
        step, started = self.global_step, time.perf_counter()
        self.clock.take()  # of a validation
        draw, stats = self.draw(turns, step)
        self.memory.enter(State.TRAINING)
        stats |= self.routes(draw.batch, step)
        with self.clock.phase("train"):
            lr = self.settings.schedule.rate(step)
            reference = self.reference if due(step, self.settings.kl_every) else None
            stats |= self.optimizers().step(lambda: update(self.policy, reference, draw.batch, self.grpo, lr))
        if self.running.asked() is None:  # else the engine needs these weights no more
            wanted = self.settings.probe_always or due(step, self.settings.probe_every)
            stats |= self.refresh(step + 1, probed(draw.batch) if wanted else [])
        stats |= {"lr": lr} | reward_stats(draw.groups)
        self.report(stats | self.spent(time.perf_counter() - started, stats.get("trained_tokens")))

    def draw(self, turns: Sequence[Turn], step: int) -> tuple[Draw, dict[str, float]]:
        """The groups of a step: of its own pivots, and of the spare ones behind them (`pivot.train.refill`)."""
        wanted, before = self.settings.prompts, self.engine.aborted_tokens
        if self.settings.early_stop:
            turns = self.reuse.offer(turns, wanted, step)
            draw = at_once(turns, wanted, lambda part: self.rollout_until(part, step))
        else:
            draw = in_waves(turns, wanted, lambda part: self.rollout(part, self.settings.group_size, step))
        if len(turns) <= wanted:
            return draw, {}
        aborted = sum(once([self.engine.aborted_tokens - before], self.engine.placement))
        return draw, draw_stats(draw, wanted, aborted, str(step)) | self.reuse.stats(draw.groups, step)

    def rollout(self, turns: Sequence[Turn], size: int, step: int) -> list[Group]:
        """Every engine replica samples its share of the turns; all groups, verified, in order, on every rank."""
        self.wake(turns)
        shares = self.shares(turns, size)
        mine = shares.own(turns)
        with self.clock.phase("generate"):
            samples = self.sample(mine, size, step)
        with self.clock.phase("verify"):
            scored = verify(mine, samples, self.scorer) if self.engine.placement.first else []
        with self.clock.phase("generate"):  # goes on until the slowest replica is done
            self.running.agree()
        with self.clock.phase("gather"):  # histories stay where they are
            drawn = shares.gather([(group.samples, group.verdicts) for group in scored])
        return self.fresh([Group(turn, *seen) for turn, seen in zip(turns, drawn, strict=True)])

    def rollout_until(self, turns: Sequence[Turn], step: int) -> list[Group]:
        """As `rollout`, but every rank stops when as many of its groups have variance as it has of the step's own."""
        self.wake(turns)
        size = self.settings.group_size
        own, spare = (
            self.shares(part, size).own(part)
            for part in (turns[: self.settings.prompts], turns[self.settings.prompts :])
        )
        mine = [*own, *spare]
        quota = Quota(mine, len(own), self.scorer)
        # what ends first must not depend on what was cached, for a resumed run has nothing cached
        self.engine.forget_prefixes()
        with self.clock.phase("generate"):
            self.sample(mine, size, step, quota, self.reuse.begun(mine))
        self.running.agree()
        left = [(mine[index].candidate.candidate_id, samples) for index, samples in self.engine.left.items()]
        self.reuse.keep(dict(once(left, self.engine.placement)))
        return self.fresh(once(quota.groups, self.engine.placement))

    def shares(self, turns: Sequence[Turn], size: int) -> Shares:
        """Which turns each replica samples so that all end at about the same time."""
        costs = sampling_costs([len(turn.prompt) for turn in turns], size, self.settings.sampling.max_tokens)
        return Shares.balanced(costs, self.engine.placement)

    def sample(
        self,
        turns: Sequence[Turn],
        size: int,
        step: int,
        enough: Quota | None = None,
        begun: Mapping[int, Sequence[Begun]] | None = None,
    ) -> list[list[Completion]]:
        """Samples of this replica's turns, until there are enough, or the program is to stop."""
        seeds = [sample_seed(self.settings.seed, turn.candidate.candidate_id, step) for turn in turns]
        prompts = [list(turn.prompt) for turn in turns]
        return self.engine.sample(
            prompts,
            seeds,
            size,
            self.settings.sampling,
            enough=enough,
            give_up=self.running.wanted,
            begun=begun,
        )

    def fresh(self, groups: list[Group]) -> list[Group]:
        """The groups, if they were drawn with the weights of this moment (or with older ones that reuse allows)."""
        step = self.global_step
        check_versions([group.samples for group in groups], str(step), self.reuse.versions(step))
        return groups

    def routes(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """With router replay: routes that are missing, and what replay does to the gap to the engine."""
        stats = missing_routes(groups)
        if stats and due(step, self.settings.probe_every):
            with self.clock.phase("probe"):
                stats |= replay_gap(self.policy, groups, self.settings.probe_sequences, self.grpo.temperature)
        return stats

    def refresh(self, version: int, scored: Sequence[Scored]) -> dict[str, float]:
        """Collective: the policy's weights into every engine, under a version that each sample will carry.

        Then both must agree on the logprobs of some tokens, if there are any, or the run stops.
        """
        self.memory.enter(State.SWAPPING)
        with self.clock.phase("swap"):
            stats = self.weights.push(self.engine, str(version)).metrics()
        with self.clock.phase("probe"):
            scored = chosen(scored, self.settings.probe_sequences, self.engine.placement.replicas)
            expected = expect_shared(self.policy, scored) if scored else None
        self.memory.enter(State.GENERATING)
        return stats | (self.probe(expected) if expected is not None else {})

    def probe(self, expected: Expected) -> dict[str, float]:
        """What the policy said before it went away, against what the engines say."""
        with self.clock.phase("probe"):
            result = expected.compare(Replicas(self.engine))
            if (refused := result.refused(*self.settings.probe_limits)) is not None:
                agree(f"{refused}; {self.blame()}")
        return result.metrics()

    def blame(self) -> str:
        """After a probe has failed: which tensors are not in the engine as the policy has them."""
        loaded = marks(self.engine.read_weights(self.manifest.shapes))
        self.rest()
        return blame(self.policy, loaded, self.weights, self.manifest.shapes)

    def wake(self, turns: Sequence[Turn]) -> None:
        """At the start (the engine has dummy weights) and after a checkpoint the engine sleeps: see that it samples."""
        if self.memory.state is not State.GENERATING:
            prompts = [
                (list(turn.prompt), max(1, len(turn.prompt) - WAKE_TOKENS)) for turn in turns if len(turn.prompt) > 1
            ]
            self.refresh(self.global_step, prompts if self.settings.probe_always else [])

    def rest(self) -> None:
        """The policy back on its device with all it has: for who wants to read it."""
        if self.memory.state is not State.TRAINING:
            self.memory.enter(State.TRAINING)

    def validation_step(self, turns: list[Turn], batch_idx: int) -> None:
        """Mean reward on held-out trajectories, sampled with the current weights and fixed seeds."""
        groups = self.rollout(turns, self.settings.validation_samples, step=-2)
        self.report({f"validation/{name}": value for name, value in reward_stats(groups).items()})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.rest()

    def on_fit_end(self) -> None:
        self.rest()

    def spent(self, seconds: float, trained: float | None) -> dict[str, float]:
        """Where the seconds of a step went, by phase and by what moved memory, and trained tokens a second."""
        phases = self.clock.take()
        phases["other"] = seconds - sum(phases.values())
        rate = {} if trained is None else {"tokens_per_second": trained / phases["train"]}
        return {f"seconds/{name}": value for name, value in phases.items()} | rate | self.memory.take()

    def report(self, values: dict[str, float]) -> None:
        """To every logger."""
        self.log_dict({name: torch.tensor(float(value)) for name, value in values.items()}, batch_size=1)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Turns are token ids for the engine; the policy moves what it trains on."""
        return batch

    def configure_optimizers(self) -> Any:
        return PolicyOptimizer()


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps (0: never) is done at this step."""
    return every > 0 and step % every == 0


def probed(groups: Sequence[Group]) -> list[Scored]:
    """What a probe may score: of each pivot the longest of its actions, the cheapest ones first.

    That is those with the most action for all their tokens: an engine computes the whole history for it.
    """
    longest = [
        (group.turn.prompt, max((sample.token_ids for sample in group.samples), key=len))
        for group in groups
        if group.samples
    ]
    longest.sort(key=lambda one: len(one[0]) / len(one[1]))
    return [([*prompt, *action], len(prompt)) for prompt, action in longest]
