"""The PivotRL training step, as a LightningModule. `training_step` is the algorithm; the rest serves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch

from pivot import ranks
from pivot.mine.groups import Group, Scorer, Turn, sample_seed, verify
from pivot.policy import Policy
from pivot.rollout import Completion, Engine, Sampling
from pivot.swap import Manifest, probe, push
from pivot.train.clock import Clock
from pivot.train.monitor import reward_stats
from pivot.train.refill import Draw, Quota, at_once, draw_stats, in_waves
from pivot.train.replay import missing_routes, replay_gap
from pivot.train.schedule import Schedule
from pivot.train.strategy import PolicyOptimizer
from pivot.train.update import Grpo, update

PROBE_TOKENS = 128
"""Tokens of a sequence that a probe compares; all of them would need logits for a whole long history."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step needs to know beyond its parts."""

    seed: int
    prompts: int
    early_stop: bool
    group_size: int
    validation_samples: int
    sampling: Sampling
    schedule: Schedule
    kl_every: int
    probe_every: int
    probe_sequences: int
    probe_limit: float


class PivotModule(pl.LightningModule):
    """Single-turn GRPO on pivots with the engine colocated (paper eq. 7, design §1)."""

    def __init__(
        self,
        policy: Policy,
        reference: Policy | None,
        engine: Engine,
        manifest: Manifest,
        scorer: Scorer,
        grpo: Grpo,
        settings: StepSettings,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.reference = reference
        self.engine = engine
        self.manifest = manifest
        self.scorer = scorer
        self.grpo = grpo
        self.settings = settings
        self.clock = Clock()

    def training_step(self, turns: list[Turn], batch_idx: int) -> None:
        """One step: sample with the current weights, verify, update, swap the new weights into the engine."""
        step = self.global_step
        draw, stats = self.draw(turns, step)
        stats |= self.routes(draw.batch, step)
        with self.clock.phase("train"):
            lr = self.settings.schedule.rate(step)
            reference = self.reference if due(step, self.settings.kl_every) else None
            stats |= self.optimizers().step(lambda: update(self.policy, reference, draw.batch, self.grpo, lr))
        self.swap(version=step + 1)
        if due(step, self.settings.probe_every):
            stats |= self.probe(draw.batch)
        self.report({"lr": lr} | stats | reward_stats(draw.groups))

    def draw(self, turns: Sequence[Turn], step: int) -> tuple[Draw, dict[str, float]]:
        """The groups of a step: of its own pivots, and of the spare ones behind them (`pivot.train.refill`)."""
        wanted, before = self.settings.prompts, self.engine.aborted_tokens
        if self.settings.early_stop:
            draw = at_once(turns, wanted, lambda part: self.rollout_until(part, step))
        else:
            draw = in_waves(turns, wanted, lambda part: self.rollout(part, self.settings.group_size, step))
        if len(turns) <= wanted:
            return draw, {}
        aborted = sum(ranks.gather([self.engine.aborted_tokens - before]))
        return draw, draw_stats(draw, wanted, aborted)

    def rollout_until(self, turns: Sequence[Turn], step: int) -> list[Group]:
        """As `rollout`, but every rank stops when as many of its groups have variance as it has of the step's own."""
        own, spare = (ranks.share(turns[: self.settings.prompts]), ranks.share(turns[self.settings.prompts :]))
        mine = [*own, *spare]
        quota = Quota(mine, len(own), self.scorer)
        # what ends first must not depend on what was cached, for a resumed run has nothing cached
        self.engine.forget_prefixes()
        with self.clock.phase("generate"):
            self.sample(mine, self.settings.group_size, step, quota)
        return ranks.gather(quota.groups)

    def rollout(self, turns: Sequence[Turn], size: int, step: int) -> list[Group]:
        """Every rank's engine samples its share of the turns; all groups, verified, on every rank."""
        mine = ranks.share(turns)
        with self.clock.phase("generate"):
            samples = self.sample(mine, size, step)
        with self.clock.phase("verify"):
            return ranks.gather(verify(mine, samples, self.scorer))

    def sample(
        self, turns: Sequence[Turn], size: int, step: int, enough: Quota | None = None
    ) -> list[list[Completion]]:
        """Samples of this rank's turns, until there are enough."""
        seeds = [sample_seed(self.settings.seed, turn.candidate.candidate_id, step) for turn in turns]
        prompts = [list(turn.prompt) for turn in turns]
        return self.engine.sample(prompts, seeds, size, self.settings.sampling, enough=enough)

    def routes(self, groups: Sequence[Group], step: int) -> dict[str, float]:
        """With router replay: routes that are missing, and what replay does to the gap to the engine."""
        stats = missing_routes(groups)
        if stats and due(step, self.settings.probe_every):
            with self.clock.phase("probe"):
                stats |= replay_gap(self.policy, groups, self.settings.probe_sequences, self.grpo.temperature)
        return stats

    def swap(self, version: int) -> None:
        """Collective: the policy's weights into every engine, under a version that each sample will carry."""
        with self.clock.phase("swap"):
            push(self.policy, self.engine, self.manifest, str(version))

    def probe(self, groups: Sequence[Group]) -> dict[str, float]:
        """After the swap, engine and trainer must agree on the logprobs of a few sequences, or the run stops."""
        with self.clock.phase("probe"):
            sampled = [group for group in groups if group.samples][: self.settings.probe_sequences]
            sequences = [[*group.turn.prompt, *group.samples[0].token_ids] for group in sampled]
            result = probe(self.policy, self.engine, sequences, last=PROBE_TOKENS)
            result.check(self.settings.probe_limit)
        return {"probe_gap_max": result.max_gap, "probe_gap_mean": result.mean_gap}

    def validation_step(self, turns: list[Turn], batch_idx: int) -> None:
        """Mean reward on held-out trajectories, sampled with the current weights and fixed seeds."""
        groups = self.rollout(turns, self.settings.validation_samples, step=-2)
        self.report({f"validation/{name}": value for name, value in reward_stats(groups).items()})

    def on_fit_start(self) -> None:
        """The engine starts with dummy weights; after a resume the policy's are not the checkpoint on disk either."""
        self.swap(version=self.global_step)
        self.clock.take()

    def report(self, values: dict[str, float]) -> None:
        """To every logger: `values`, the seconds of each phase, and tokens a second of training."""
        seconds = self.clock.take()
        if seconds.get("train") and "trained_tokens" in values:
            values = values | {"tokens_per_second": values["trained_tokens"] / seconds["train"]}
        times = {f"seconds/{name}": value for name, value in seconds.items()} if "lr" in values else {}
        self.log_dict({name: torch.tensor(float(value)) for name, value in (values | times).items()}, batch_size=1)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Turns are token ids for the engine; the policy moves what it trains on."""
        return batch

    def configure_optimizers(self) -> Any:
        return PolicyOptimizer()


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps (0: never) is done at this step."""
    return every > 0 and step % every == 0
