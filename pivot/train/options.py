"""What the sections `train` and `optimizer` of a configuration may hold; free of torch, for it is read first."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pivot.train.schedule import SCHEDULES


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """One entry of `optimizer.rules`; see `pivot.policy.optimizer.Rule`."""

    match: str = "???"  # OmegaConf's mark of a value that has to be given
    lr: float | None = None
    weight_decay: float | None = None


@dataclass(frozen=True, slots=True)
class OptimizerSection:
    """The keys of the section, with their defaults."""

    lr: float = 1e-6
    schedule: str | None = None
    warmup_steps: int = 0
    min_lr_ratio: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_grad: float = 1.0
    rules: list[ParameterRule] = field(default_factory=list)
    distributed: bool = False
    offload: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainSection:
    """The keys of `train`, with their defaults."""

    steps: int = 30
    prompts_per_step: int = 8
    refill: float = 0.0
    early_stop: bool = False
    partial_reuse: int = 0
    group_size: int = 8
    micro_batch_tokens: int = 8192
    shared_prefix: bool = True
    validate_every: int = 10
    validation_pivots: int = 32
    validation_samples: int = 4
    checkpoint_every: int = 10
    checkpoint_async: bool = True
    keep_checkpoints: int = 2
    keep_best: str | None = "validation/reward_mean"
    kl_every: int = 5
    probe_every: int = 1
    probe_sequences: int = 4
    probe_limit: float | None = None
    probe_mean_limit: float | None = None


EXACT_LIMITS = 1e-3, 1e-3
ROUNDED_LIMITS = math.inf, 0.2


def probe_limits(largest: float | None, mean: float | None, *, dtype: str, fp8: str | None) -> tuple[float, float]:
    """The largest and the mean difference of logprobs that a probe after a swap allows.

    Where weights are rounded a token in thousands goes to another expert, and its logprob anywhere: there the largest
    difference says nothing, and the mean does.

    Args:
        largest: `train.probe_limit`.
        mean: `train.probe_mean_limit`.
        dtype: `model.dtype`.
        fp8: `swap.fp8`.
    """
    limits = EXACT_LIMITS if dtype == "float32" and fp8 is None else ROUNDED_LIMITS
    return (limits[0] if largest is None else largest, limits[1] if mean is None else mean)


def train_rules(section: TrainSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the `train` section."""
    return [
        ("train.steps", section.steps, section.steps >= 1, "at least 1"),
        ("train.group_size", section.group_size, section.group_size >= 2, "at least 2"),
        ("train.refill", section.refill, section.refill >= 0, "0 (none) or positive"),
        ("train.early_stop", section.early_stop, not section.early_stop or section.refill > 0,
         "false with train.refill=0: there is nothing to give up"),
        ("train.partial_reuse", section.partial_reuse, section.partial_reuse >= 0, "0 (none) or a number of steps"),
        ("train.partial_reuse", section.partial_reuse, not section.partial_reuse or section.early_stop,
         "0 with train.early_stop=false: nothing is given up half-way"),
        ("train.checkpoint_every", section.checkpoint_every, section.checkpoint_every >= 1, "at least 1"),
        ("train.keep_checkpoints", section.keep_checkpoints, section.keep_checkpoints >= 1, "at least 1"),
        ("train.keep_best", section.keep_best, section.keep_best is None or
         bool(section.keep_best.removeprefix("-").strip()), "null or the name of a metric"),
    ]  # fmt: skip


def optimizer_rules(section: OptimizerSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the optimizer's section."""
    return [
        ("optimizer.lr", section.lr, section.lr >= 0, "0 or more"),
        ("optimizer.schedule", section.schedule, section.schedule in (None, *SCHEDULES),
         f"null or one of {', '.join(SCHEDULES)}"),
        ("optimizer.warmup_steps", section.warmup_steps, section.warmup_steps >= 0, "0 or more"),
        ("optimizer.min_lr_ratio", section.min_lr_ratio, 0 <= section.min_lr_ratio <= 1, "from 0 to 1"),
        ("optimizer.weight_decay", section.weight_decay, section.weight_decay >= 0, "0 or more"),
        ("optimizer.clip_grad", section.clip_grad, section.clip_grad >= 0, "0 (do not clip) or more"),
        ("optimizer.offload", section.offload, 0 <= section.offload <= 1, "a share from 0 to 1"),
        ("optimizer.offload", section.offload, not section.offload or section.distributed,
         "0 unless optimizer.distributed is true"),
        *((f"optimizer.rules[{i}]", asdict(rule), usable(rule), "{match: …} with lr, weight_decay or both, 0 or more")
          for i, rule in enumerate(section.rules)),
    ]  # fmt: skip


def usable(rule: ParameterRule) -> bool:
    """Whether a rule names something and multiplies something by a number that is not negative."""
    given = [value for value in (rule.lr, rule.weight_decay) if value is not None]
    return bool(rule.match and given) and min(given) >= 0
