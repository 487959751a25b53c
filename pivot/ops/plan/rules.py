"""What a job may not be: the arithmetic of layouts and engines, and limits of this project, in one line each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pivot.errors import UserError
from pivot.ops.plan import engine
from pivot.ops.plan.hardware import MIB
from pivot.ops.plan.job import Job
from pivot.ops.plan.step import generate
from pivot.rollout import placement
from pivot.shape import check_layout
from pivot.swap_options import VOCAB_PADDING


def problems(job: Job) -> list[str]:
    """Every rule that a job breaks; it cannot be counted then."""
    found = []
    for check in (layout_fits, engines_fit):
        try:
            found += list(check(job))
        except UserError as error:
            found.append(str(error))
    return found


def layout_fits(job: Job) -> Iterator[str]:
    """Of the training layout."""
    job.layout.check(job.world)
    job.layout.sequence_parallel(moe=bool(job.model.experts))
    if job.model.shape is not None:
        check_layout(job.model.shape, job.layout)
    else:
        yield from bridged(job)


def bridged(job: Job) -> Iterator[str]:
    """Of a family that goes through Megatron-Bridge: what this project refuses there, and Megatron's own divisors."""
    model, layout = job.model, job.layout
    for key, value in (("parallel.context", layout.context > 1), ("precision.fp8", job.training.fp8)):
        if value:
            yield f"{key} is set, which this project refuses for a family of Megatron-Bridge ({model.family})"
    for what, size, parts in (
        ("attention heads", model.heads, layout.tensor),
        ("vocabulary entries", model.vocab, layout.tensor),
        ("layers", len(model.layers), layout.pipeline * (layout.virtual_pipeline or 1)),
        ("experts", model.experts, layout.expert),
    ):
        if size % parts:
            yield f"{size} {what} do not divide by {parts}"


def engines_fit(job: Job) -> Iterator[str]:
    """Of the engines."""
    engines, model = job.engines, job.model
    placement.check(job.world, tensor=engines.tensor, expert_parallel=engines.expert_parallel)
    for what, size in (
        ("attention heads", model.heads),
        ("vocabulary entries", -(-model.vocab // VOCAB_PADDING) * VOCAB_PADDING),
    ):
        if size % engines.tensor:
            yield f"{size} {what} do not divide by rollout.tensor = {engines.tensor}"
    if model.groups % engines.tensor and engines.tensor % model.groups:
        yield f"{model.groups} key/value heads do not fit rollout.tensor = {engines.tensor}"
    if job.cuda_graphs and not job.device.host:
        yield "rollout.cuda_graphs is true, and a CPU has no CUDA graphs"
    inner = max(layer.expert_inner for layer in model.layers)
    if inner % engines.tensor and not engines.expert_parallel:
        yield f"{inner} inner features of an expert do not divide by rollout.tensor = {engines.tensor}"
    need = engine.token_bytes(job) * engines.context + engine.sequence_bytes(job)
    if need > engines.cache:
        yield (
            f"rollout.kv_cache_mb is {engines.cache // MIB}: one sequence of rollout.max_model_len = {engines.context} "
            f"tokens needs {-(-need // MIB)}, and the engine would refuse to start"
        )


def notes(job: Job) -> list[str]:
    """What is no error, and a user wants to know."""
    found = []
    work, groups = job.work, job.work.prompts
    if groups < job.replicas:
        found.append(
            f"{job.replicas - groups} of {job.replicas} engines have no prompt in a step of {groups}: raise "
            "rollout.tensor or train.prompts_per_step, or use fewer ranks"
        )
    if groups < job.data:
        found.append(f"{job.data} data-parallel ranks share {groups} groups: some may train on none")
    share = -(-groups // job.replicas) * work.group
    room = min(job.engines.sequences, engine.sequences_that_fit(job))
    if share > room:
        found.append(f"an engine gets {share} samples a step and decodes {room} at once (KV cache and max_num_seqs)")
    if job.engines.tensor > job.per_node:
        found.append(f"rollout.tensor {job.engines.tensor} is more than the {job.per_node} ranks of a node: slow")
    launches = generate(job, groups) - generate(replace(job, cuda_graphs=True), groups)
    if job.device.host and launches > 1:
        found.append(f"rollout.cuda_graphs=false costs about {launches:.0f} s a step (true: see docs/rollout.md)")
    if job.model.shape is None:
        found.append(
            f"{job.model.family} goes through Megatron-Bridge, which has not run here: no shared prefixes, no context "
            "parallelism, weights gathered tensor by tensor"
        )
    return found
