"""The PivotRL training step, as a LightningModule. `training_step` is the algorithm; the rest serves it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch

from pivot import ranks
from pivot.clock import Clock
from pivot.mine.groups import Group, Scorer, Turn, sample_seed, verify
from pivot.policy import Policy
from pivot.rollout import Engine, Sampling
from pivot.shares import Shares, sampling_costs
from pivot.swap import Expected, Manifest, Swap, agree, blame, check_versions, expect, marks
from pivot.train.memory import Memory, State
from pivot.train.monitor import reward_stats
from pivot.train.schedule import Schedule
from pivot.train.strategy import PolicyOptimizer
from pivot.train.update import Grpo, update

PROBE_TOKENS = 128
"""Tokens of a sequence that a probe compares; all of them would need logits for a whole long history."""


@dataclass(frozen=True, slots=True)
class StepSettings:
    """What a step needs to know beyond its parts.

    `probe_always`: every time the engine is woken, for one whose sleep is not to be trusted.
    """

    seed: int
    group_size: int
    validation_samples: int
    sampling: Sampling
    schedule: Schedule
    kl_every: int
    probe_every: int
    probe_always: bool
    probe_sequences: int
    probe_limit: float


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
        self.clock = Clock()

    def training_step(self, turns: list[Turn], batch_idx: int) -> None:
        """One step: sample with the current weights, verify, update, swap the new weights into the engine."""
        step = self.global_step
        groups = self.rollout(turns, self.settings.group_size, step)
        self.memory.enter(State.TRAINING)
        with self.clock.phase("train"):
            lr = self.settings.schedule.rate(step)
            reference = self.reference if due(step, self.settings.kl_every) else None
            stats = self.optimizers().step(lambda: update(self.policy, reference, groups, self.grpo, lr))
        wanted = self.settings.probe_always or due(step, self.settings.probe_every)
        stats |= self.refresh(step + 1, probed(groups) if wanted else [])
        self.report({"lr": lr} | stats | reward_stats(groups))

    def rollout(self, turns: Sequence[Turn], size: int, step: int) -> list[Group]:
        """Every engine replica samples its share of the turns; all groups, verified, in order, on every rank."""
        self.wake(turns)
        settings, placement = self.settings, self.engine.placement
        costs = sampling_costs([len(turn.prompt) for turn in turns], size, settings.sampling.max_tokens)
        shares = Shares.balanced(costs, placement)
        mine = shares.own(turns)
        seeds = [sample_seed(settings.seed, turn.candidate.candidate_id, step) for turn in mine]
        with self.clock.phase("generate"):
            samples = self.engine.sample([list(turn.prompt) for turn in mine], seeds, size, settings.sampling)
        with self.clock.phase("verify"):
            groups = shares.gather(verify(mine, samples, self.scorer) if placement.first else [])
        check_versions((sample for group in groups for sample in group.samples), str(self.global_step))
        return groups

    def refresh(self, version: int, sequences: Sequence[Sequence[int]]) -> dict[str, float]:
        """Collective: the policy's weights into every engine, under a version that each sample will carry.

        Then both must agree on the logprobs of the sequences, if there are any, or the run stops.
        """
        self.memory.enter(State.SWAPPING)
        with self.clock.phase("swap"):
            stats = self.weights.push(self.engine, str(version)).metrics()
        with self.clock.phase("probe"):
            sequences = sequences[: self.settings.probe_sequences]
            expected = expect(self.policy, sequences, last=PROBE_TOKENS) if sequences else None
        self.memory.enter(State.GENERATING)
        return stats | (self.probe(expected) if expected is not None else {})

    def probe(self, expected: Expected) -> dict[str, float]:
        """What the policy said before it went away, against what the engine says."""
        with self.clock.phase("probe"):
            result = expected.compare(self.engine)
            refused = result.refused(self.settings.probe_limit)
            if any(ranks.gather([refused is not None])):
                agree(f"{refused or 'here they agree'}; {self.blame()}")
        return result.metrics()

    def blame(self) -> str:
        """After a probe has failed: which tensors are not in the engine as the policy has them."""
        loaded = marks(self.engine.read_weights(self.manifest.shapes))
        self.rest()
        return blame(self.policy, loaded, self.weights, self.manifest.shapes)

    def wake(self, turns: Sequence[Turn]) -> None:
        """At the start (the engine has dummy weights) and after a checkpoint the engine sleeps: see that it samples."""
        if self.memory.state is not State.GENERATING:
            prompts = [turn.prompt for turn in turns if len(turn.prompt) > 1]
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

    def report(self, values: dict[str, float]) -> None:
        """To every logger: `values`, the seconds of each phase, and tokens a second of training."""
        seconds = self.clock.take()
        if seconds.get("train") and "trained_tokens" in values:
            values = values | {"tokens_per_second": values["trained_tokens"] / seconds["train"]}
        times = {f"seconds/{name}": value for name, value in seconds.items()} if "lr" in values else {}
        times |= self.memory.take() if "lr" in values else {}
        self.log_dict({name: torch.tensor(float(value)) for name, value in (values | times).items()}, batch_size=1)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Turns are token ids for the engine; the policy moves what it trains on."""
        return batch

    def configure_optimizers(self) -> Any:
        return PolicyOptimizer()


def due(step: int, every: int) -> bool:
    """Whether something done every `every` steps (0: never) is done at this step."""
    return every > 0 and step % every == 0


def probed(groups: Sequence[Group]) -> list[list[int]]:
    """Sequences that a probe may score: each pivot with the first of its actions."""
    return [[*group.turn.prompt, *group.samples[0].token_ids] for group in groups if group.samples]
