"""Single keys that would make a job fit whose layout stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pivot.ops.plan.hardware import MIB
from pivot.ops.plan.job import Job
from pivot.ops.plan.memory import memory
from pivot.ops.plan.rules import problems


def changes(job: Job) -> Iterator[tuple[str, Job]]:
    """A key with its value, and the job with it."""
    training, engines = job.training, job.engines
    if training.recompute != "full":
        yield "parallel.recompute=full", replace(job, training=replace(training, recompute="full"))
    if training.reference and training.reference_every != 1:
        yield "train.kl_every=0", replace(job, training=replace(training, reference=False, reference_every=0))
    if not training.distributed:
        yield "optimizer.distributed=true", replace(job, training=replace(training, distributed=True))
    elif training.offload < 1 and job.device.host:
        yield "optimizer.offload=1.0", replace(job, training=replace(training, offload=1.0))
    half = engines.cache // 2
    yield f"rollout.kv_cache_mb={half // MIB}", replace(job, engines=replace(engines, cache=half))
    if job.cuda_graphs:
        yield "rollout.cuda_graphs=false", replace(job, cuda_graphs=False)
    if job.device.host and not engines.sleep:
        yield "rollout.sleep_level=1", replace(job, engines=replace(engines, sleep=1))


def remedies(job: Job) -> list[str]:
    """Those of `changes` that are enough."""
    return [key for key, changed in changes(job) if not problems(changed) and memory(changed).problem is None]
