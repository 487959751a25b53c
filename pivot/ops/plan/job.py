"""What is planned: a model, ranks, how they are cut, and what a step has to do. Values out of a configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pivot.config import Config
from pivot.layout import Layout, layout
from pivot.ops.plan.hardware import DEVICES, Device
from pivot.ops.plan.model import Model, find


@dataclass(frozen=True, slots=True)
class Engines:
    """How engines are cut, and what they may hold.

    Attributes:
        tensor: ranks of one engine.
        expert_parallel: whether they hold whole experts.
        sleep: level; 0: nothing moves.
        cache: bytes of KV cache a rank.
        sequences: most decoded together by one engine.
        context: longest sequence in tokens.
    """

    tensor: int
    expert_parallel: bool
    sleep: int
    cache: int
    sequences: int
    context: int


@dataclass(frozen=True, slots=True)
class Training:
    """How the policy is trained.

    Attributes:
        itemsize: bytes of a weight and an activation.
        fp8: whether products are in FP8.
        frozen_router: whether routers are left as they are.
        recompute: None, "selective" or "full".
        distributed: whether optimizer state is spread over data-parallel ranks.
        offload: share of the optimizer state in host memory.
        reference: whether there is a frozen start policy.
        reference_every: steps between its passes.
        budget: tokens wanted in a micro-batch.
        shared: whether a history is forwarded once for its group.
        scored: whether the policy scores the samples once more before the update, as loops without exact old
            logprobs do; never here, but in those that a plan is compared with.
    """

    itemsize: int
    fp8: bool = False
    frozen_router: bool = True
    recompute: str | None = None
    distributed: bool = False
    offload: float = 0.0
    reference: bool = False
    reference_every: int = 0
    budget: int = 8192
    shared: bool = True
    scored: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What a step does, and what is done every so often.

    Attributes:
        prompts: pivots a step.
        group: samples of each.
        history: mean tokens of a history.
        action: mean tokens of an action.
        longest: most tokens of an action.
        probe_every: steps between probes; 0: none.
        probe_sequences: sequences in each.
        save_every: steps between checkpoints.
        save_async: whether they are written behind the training.
        validate_every: steps between validations; 0: none.
        validation: samples of one.
    """

    prompts: int
    group: int
    history: int
    action: int
    longest: int
    probe_every: int = 0
    probe_sequences: int = 0
    save_every: int = 0
    save_async: bool = True
    validate_every: int = 0
    validation: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """How weights go over: bytes of a bucket, of a value on the wire, and the share of tensors that is checked."""

    bucket: int
    wire: float
    verify: float


@dataclass(frozen=True, slots=True)
class Job:
    """All of it.

    Attributes:
        cuda_graphs: whether engines replay decode steps, and do not launch them kernel by kernel.
    """

    model: Model
    device: Device
    world: int
    per_node: int
    layout: Layout
    engines: Engines
    training: Training
    work: Work
    exchange: Exchange
    cuda_graphs: bool = False

    @property
    def moves(self) -> bool:
        """Whether policy and engine take turns on the device."""
        return bool(self.engines.sleep and self.device.host)

    @property
    def data(self) -> int:
        """Data-parallel ranks: those that train on other micro-batches."""
        return self.world // (self.layout.tensor * self.layout.pipeline * self.layout.context)

    @property
    def dense_copies(self) -> int:
        """Ranks that hold the same part of what is no expert, and share its optimizer state if it is distributed."""
        return self.world // (self.layout.tensor * self.layout.pipeline)

    @property
    def expert_copies(self) -> int:
        """Ranks that hold the same part of the experts."""
        return self.world // (self.layout.expert_tensor * self.layout.expert * self.layout.pipeline)

    @property
    def replicas(self) -> int:
        """Engines."""
        return self.world // self.engines.tensor

    @property
    def own(self) -> bool:
        """Whether the policy is of this project's own families, which alone share prefixes."""
        return self.model.shape is not None

    @property
    def sequence(self) -> int:
        """Ranks that share the tokens between the layers, beside context parallelism."""
        return self.layout.tensor if self.layout.sequence_parallel(moe=bool(self.model.experts)) else 1

    def cut(self, layout: Layout, tensor: int, expert_parallel: bool) -> Job:
        """The same with other cuts."""
        engines = replace(self.engines, tensor=tensor, expert_parallel=expert_parallel)
        return replace(self, layout=layout, engines=engines)


def job(config: Config, gpu: str | None = None) -> Job:
    """What a configuration asks for.

    Args:
        config: of a training run.
        gpu: a name in `DEVICES`; None: that of the configuration.

    Raises:
        UserError: the model cannot be counted.
    """
    device = DEVICES[gpu or config.plan.gpu]
    local = not device.host and config.cluster.gpus_per_node > 0  # a CPU, and no cluster of CPUs either
    ranks = config.parallel.ranks if local else config.cluster.world
    rollout, train = config.rollout, config.train
    reference_every = 1 if config.grpo.kl_coefficient else train.kl_every
    return Job(
        model=find(config.model.path),
        device=device,
        world=ranks,
        per_node=ranks if local else config.cluster.ranks_on_node,
        layout=layout(config.parallel),
        engines=Engines(
            rollout.tensor, rollout.expert_parallel, rollout.sleep_level, rollout.kv_cache_mb << 20,
            rollout.max_num_seqs, rollout.max_model_len,
        ),
        training=Training(
            itemsize=2 if config.model.dtype == "bfloat16" else 4,
            fp8=config.precision.fp8 is not None,
            frozen_router=config.model.freeze_router,
            recompute=config.parallel.recompute,
            distributed=config.optimizer.distributed,
            offload=config.optimizer.offload,
            reference=reference_every > 0,
            reference_every=reference_every,
            budget=train.micro_batch_tokens,
            shared=train.shared_prefix,
        ),
        work=work(config),
        exchange=Exchange(
            config.swap.bucket_mb << 20,
            1.02 if config.swap.fp8 else 2 if config.model.dtype == "bfloat16" else 4,
            config.swap.verify,
        ),
        cuda_graphs=rollout.cuda_graphs,
    )  # fmt: skip


def work(config: Config) -> Work:
    """What a step of a training run does."""
    train, rollout = config.train, config.rollout
    history = config.plan.history or max(1, rollout.max_model_len // 4)
    return Work(
        prompts=train.prompts_per_step,
        group=train.group_size,
        history=min(history, rollout.max_model_len - 1),
        action=min(config.plan.action or max(1, rollout.max_tokens // 4), rollout.max_tokens),
        longest=rollout.max_tokens,
        probe_every=train.probe_every,
        probe_sequences=train.probe_sequences,
        save_every=train.checkpoint_every,
        save_async=train.checkpoint_async,
        validate_every=train.validate_every if config.data.validation else 0,
        validation=train.validation_pivots * train.validation_samples,
    )
