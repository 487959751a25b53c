"""The optimizer: Megatron's, with settings of our own and a learning rate given at each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.optimizer import OptimizerConfig, ParamKey, ParamWithNamePredicate, get_megatron_optimizer
from megatron.core.optimizer.optimizer import MegatronOptimizer
from torch.nn import Parameter

from pivot.errors import UserError
from pivot.policy.kinds import KINDS, kind_of, named


@dataclass(frozen=True, slots=True)
class Rule:
    """Multipliers of some parameters.

    Attributes:
        match: a kind of layer (``kinds.KINDS``), or a shell pattern over names in the whole model
            (``decoder.layers.0.*``; see ``kinds.whole_name``).
        lr: of the learning rate; None: as without the rule.
        weight_decay: of the weight decay; None: as without the rule.
    """

    match: str
    lr: float | None = None
    weight_decay: float | None = None

    def matches(self, name: str) -> bool:
        """Whether the rule is about the parameter of this name in the whole model."""
        return kind_of(name) == self.match if self.match in KINDS else fnmatchcase(name, self.match)


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """AdamW.

    Attributes:
        betas: decay of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: decoupled; not applied to vectors (norm weights, biases) unless a rule says so.
        clip: largest global gradient norm; 0 for none.
        distributed: spread optimizer state over data-parallel ranks (ZeRO 1).
        offload: share of the optimizer state that lives in host memory and is updated there; needs a CUDA device,
            bfloat16 parameters and ``distributed``.
        rules: multipliers by parameter; where several match, the last one that sets a multiplier wins.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip: float = 1.0
    distributed: bool = False
    offload: float = 0.0
    rules: tuple[Rule, ...] = ()


Multipliers = tuple[float, float]
"""(of the learning rate, of the weight decay)."""


def multipliers(name: str, dimensions: int, rules: Sequence[Rule]) -> Multipliers:
    """What applies to a parameter of this name in the whole model with so many dimensions."""
    lr, decay = 1.0, 0.0 if dimensions == 1 else 1.0
    for rule in rules:
        if rule.matches(name):
            lr = lr if rule.lr is None else rule.lr
            decay = decay if rule.weight_decay is None else rule.weight_decay
    return lr, decay


def check_rules(rules: Sequence[Rule], names: Iterable[str]) -> None:
    """Collective: every rule must match a trained parameter of some rank.

    Args:
        rules: the same on every rank.
        names: in the whole model, of this rank's parameters that are trained.

    Raises:
        UserError: on every rank, naming the first rule that matches nothing.
    """
    if not rules:
        return
    mine = set(names)
    hits = [any(rule.matches(name) for name in mine) for rule in rules]
    found = torch.tensor(hits, dtype=torch.int32, device=torch.cuda.current_device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    for number, (rule, hit) in enumerate(zip(rules, found.tolist(), strict=True)):
        if not hit:
            raise UserError(
                f"optimizer.rules[{number}]: '{rule.match}' matches no trained parameter: name a kind "
                f"({', '.join(KINDS)}) or a pattern such as 'decoder.layers.0.*' (a router is trained only with "
                "model.freeze_router=false)"
            )


def build(settings: OptimizerSettings, chunks: list[Any], dtype: torch.dtype) -> MegatronOptimizer:
    """Megatron's optimizer over this rank's DDP-wrapped model chunks, whose parameters are in ``dtype``; collective.

    Raises:
        UserError: a rule matches nothing, or the state cannot be offloaded here.
    """
    config = OptimizerConfig(
        optimizer="adam",
        lr=0.0,
        min_lr=0.0,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        adam_eps=settings.eps,
        clip_grad=settings.clip,
        bf16=dtype is torch.bfloat16,
        fp16=False,
        params_dtype=dtype,
        use_distributed_optimizer=settings.distributed,
        **offload_options(settings, dtype, cuda=torch.cuda.is_available()),
    )
    trained = [(name, p) for name, p in named(map(_unwrap, chunks)) if p.requires_grad]
    check_rules(settings.rules, (name for name, _ in trained))
    table = {parameter: multipliers(name, parameter.dim(), settings.rules) for name, parameter in trained}
    return get_megatron_optimizer(config, chunks, config_overrides=_overrides(table))


def offload_options(settings: OptimizerSettings, dtype: torch.dtype, *, cuda: bool) -> dict[str, Any]:
    """The fields of Megatron's OptimizerConfig that keep a share of the optimizer state in host memory.

    Megatron's HybridDeviceOptimizer works on bf16 parameters through the path of the precision-aware optimizer, which
    in turn needs the distributed one.

    Raises:
        UserError: this is asked for where it cannot work.
    """
    if not settings.offload:
        return {}
    for ok, problem in (
        (cuda, "there is no CUDA device, so the optimizer state is in host memory already: set optimizer.offload=0"),
        (settings.distributed, "it needs Megatron's distributed optimizer: set optimizer.distributed=true"),
        (dtype is torch.bfloat16, "it needs bf16 parameters: set model.dtype=bfloat16"),
    ):
        if not ok:
            raise UserError(f"optimizer.offload is {settings.offload}, but {problem}")
    return {
        "optimizer_cpu_offload": True,
        "optimizer_offload_fraction": settings.offload,
        "overlap_cpu_optimizer_d2h_h2d": True,
        "use_precision_aware_optimizer": True,
    }


def _unwrap(chunk: Any) -> Any:
    """The GPTModel inside DistributedDataParallel and Float16Module."""
    while "module" in chunk._modules:
        chunk = chunk.module
    return chunk


def _overrides(table: dict[Parameter, Multipliers]) -> dict[ParamKey, Any]:
    """Megatron's form of ``table``: for each pair of multipliers, a test of membership and the fields of the group.

    Megatron groups by these two fields (and by expert or not), and finds groups by them in a checkpoint.
    """

    def member(pair: Multipliers) -> ParamWithNamePredicate:
        return ParamWithNamePredicate(name=f"multipliers {pair}", fn=lambda parameter, _: table[parameter] == pair)

    pairs = sorted(set(table.values()) - {(1.0, 1.0)})
    return {ParamKey(with_name_predicate=member((lr, decay))): {"lr_mult": lr, "wd_mult": decay} for lr, decay in pairs}


def step(optimizer: MegatronOptimizer, lr: float) -> float:
    """One update at learning rate ``lr``; returns the global gradient norm before clipping.

    Raises:
        FloatingPointError: the gradient norm is not finite; nothing was updated.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
        # Megatron leaves this to its scheduler: without it, norms would decay as everything else
        group["weight_decay"] = optimizer.config.weight_decay * group["wd_mult"]
    optimizer.prepare_grads()
    norm = float(optimizer.get_grad_norm())
    if norm != norm or norm == float("inf"):
        raise FloatingPointError(f"gradient norm is {norm}: the weights were not updated")
    optimizer.step()
    _count_empty_groups(optimizer)
    return norm


def _count_empty_groups(optimizer: MegatronOptimizer) -> None:
    """Gives groups without parameters on this rank the count of updates of the others.

    Adam counts updates by group and skips an empty one, such as that of the embedding on the last stage; a checkpoint
    has the groups of the first rank, and a group without a count would start its bias correction anew.
    """
    counts = {group["step"] for group in optimizer.param_groups if "step" in group and group["params"]}
    for group in optimizer.param_groups:
        if not group["params"] and counts:
            group["step"] = max(counts)
