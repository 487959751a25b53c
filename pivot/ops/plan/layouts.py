"""Other ways to cut the same job: which fit, how long a step would take, and why the rest do not."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from pivot.layout import Layout
from pivot.ops.plan.job import Job
from pivot.ops.plan.memory import Memory, memory
from pivot.ops.plan.rules import problems
from pivot.ops.plan.step import Step, step

PIPELINES = (1, 2, 3, 4, 6, 8, 11, 12, 16)
CONTEXTS = (1, 2, 4, 8, 16)
_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class Fit:
    """A layout that fits."""

    job: Job
    memory: Memory
    step: Step


@dataclass(frozen=True, slots=True)
class Refusal:
    """Layouts that do not fit for one reason, with the one that comes nearest.

    Attributes:
        reason: of the nearest.
        count: of layouts.
        nearest: its keys.
    """

    reason: str
    count: int
    nearest: str


def keys(job: Job) -> str:
    """A layout as overrides."""
    layout, engines = job.layout, job.engines
    found = [f"parallel.{name}={getattr(layout, name)}" for name in ("tensor", "pipeline", "context")]
    if job.model.experts:
        found += [f"parallel.expert={layout.expert}", f"parallel.expert_tensor={layout.expert_tensor}"]
    found.append(f"rollout.tensor={engines.tensor}")
    if engines.tensor > 1:
        found.append(f"rollout.expert_parallel={str(engines.expert_parallel).lower()}")
    return " ".join(found)


def cuts(job: Job) -> Iterator[Job]:
    """The same job in every layout worth a look."""
    powers = [1 << n for n in range(10)]
    tensors = [size for size in powers if size <= min(job.per_node, job.world)]
    experts = [size for size in powers if job.model.experts and size <= job.model.experts] or [1]
    contexts = CONTEXTS if job.own else (1,)
    for tensor, pipeline, context in product(tensors, PIPELINES, contexts):
        if job.world % (tensor * pipeline * context) or len(job.model.layers) % pipeline:
            continue
        for expert, expert_tensor in product(experts, sorted({1, tensor} if job.model.experts else {1})):
            if job.world % (expert * expert_tensor * pipeline):
                continue
            layout = Layout(tensor, pipeline, expert, expert_tensor, None, job.layout.sequence, context)
            if tensor == 1:
                layout = Layout(tensor, pipeline, expert, expert_tensor, None, None, context)
            for engine in tensors:
                whole = engine > 1 and job.engines.expert_parallel
                yield job.cut(layout, engine, whole)


def order(fit: Fit) -> tuple[float, ...]:
    """Fastest first; of those that a plan cannot tell apart (3 %), the one with the fewest cuts."""
    layout = fit.job.layout
    cuts_made = layout.pipeline, layout.tensor * layout.context, layout.expert * layout.expert_tensor
    return round(math.log(fit.step.total) / 0.03), *cuts_made, fit.step.total


def survey(job: Job) -> tuple[list[Fit], list[Refusal]]:
    """(layouts that fit, fastest first; the others by reason, most frequent first)."""
    fits: list[Fit] = []
    refused: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for other in cuts(job):
        if broken := problems(other):
            refused[_NUMBER.sub("n", broken[0])].append((0.0, broken[0], keys(other)))
            continue
        held = memory(other)
        if (problem := held.problem) is not None:
            over = max(held.totals) - held.capacity
            refused[_NUMBER.sub("n", problem.split(" (")[0])].append((over, problem, keys(other)))
        else:
            fits.append(Fit(other, held, step(other)))
    fits.sort(key=order)
    found = [Refusal(min(each)[1], len(each), min(each)[2]) for each in refused.values()]
    return fits, sorted(found, key=lambda refusal: -refusal.count)
