"""A plan to read: tables and a verdict, or the same as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pivot.ops.plan import swap
from pivot.ops.plan.hardware import GIB, MIB, REACHED
from pivot.ops.plan.job import Job
from pivot.ops.plan.layouts import Fit, Refusal, keys, survey
from pivot.ops.plan.memory import STATES, Memory, memory
from pivot.ops.plan.remedies import remedies
from pivot.ops.plan.rules import notes, problems
from pivot.ops.plan.step import Step, step


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a plan says.

    Attributes:
        name: of the run.
        gpu: name of the device.
        steps: of the run.
        job: what is planned.
        problems: why it does not fit; none: it does.
        remedies: single keys with which it would.
        memory: of the fullest rank; None where a rule is broken, as the next.
        step: seconds.
        notes: what is no error.
        fits: other layouts, fastest first.
        refusals: why the rest of them do not fit.
    """

    name: str
    gpu: str
    steps: int
    job: Job
    problems: tuple[str, ...]
    remedies: tuple[str, ...]
    memory: Memory | None
    step: Step | None
    notes: tuple[str, ...]
    fits: tuple[Fit, ...]
    refusals: tuple[Refusal, ...]

    @property
    def verdict(self) -> str:
        """One line."""
        if self.problems or self.step is None or self.memory is None:
            hint = f"; it would with {' or '.join(self.remedies)}" if self.remedies else ""
            hint += f"; fastest layout that fits: {keys(self.fits[0].job)}" if self.fits else ""
            return f"does not fit: {'; '.join(self.problems)}{hint}"
        used, seconds = max(self.memory.totals), self.step.total
        hours = seconds * self.steps / 3600
        return (
            f"fits: {size(used)} of {size(self.memory.capacity)} a rank, {seconds:.3g} s a step, "
            f"{self.steps} steps in {hours:.3g} h, {hours * self.job.world:,.3g} {self.gpu} hours"
        )


def make(name: str, gpu: str, steps: int, job: Job, layouts: int) -> Plan:
    """The plan of a job.

    Args:
        name: of the run.
        gpu: name of the device.
        steps: of the run.
        job: what is planned.
        layouts: other layouts to look for; 0: none.
    """
    broken, held, found = problems(job), None, None
    if not broken:
        held, found = memory(job), step(job)
        broken = [held.problem] if held.problem else []
    fits, refusals = survey(job) if layouts else ([], [])
    said, enough = notes(job) if held else [], remedies(job) if held and broken else []
    return Plan(
        name, gpu, steps, job, tuple(broken), tuple(enough), held, found, tuple(said), tuple(fits), tuple(refusals)
    )  # fmt: skip


def show(plan: Plan, console: Console, layouts: int) -> None:
    """Tables, and the verdict as the last line."""
    job, model, work = plan.job, plan.job.model, plan.job.work
    console.print(
        f"{plan.name}: {model.name}, {model.total / 1e9:.3g} B parameters, {model.active / 1e9:.3g} B of a token; "
        f"{job.world} ranks of {plan.gpu}, {job.per_node} a node\n{keys(job)}\n"
        f"a step: {work.prompts} groups of {work.group}, mean history {work.history:,} tokens, "
        f"mean action {work.action:,}, longest {work.longest:,}"
    )
    if plan.memory and plan.step:
        console.print(memory_table(plan.memory), step_table(plan.step, job))
    for note in plan.notes:
        console.print(f"note: {note}")
    if layouts:
        console.print(layout_table(plan.fits[:layouts]) if plan.fits else "no layout of these ranks fits")
        if plan.refusals:
            console.print(refusal_table(plan.refusals))
    console.print(plan.verdict, style="bold red" if plan.problems else "bold green")


def size(count: int) -> str:
    """Bytes in GiB, or in MiB where that says more."""
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


def memory_table(found: Memory) -> Table:
    """GiB by part and state."""
    title = f"Memory of the fullest rank (pipeline stage {found.stage})"
    table = Table("part", *(state.value for state in STATES), title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, sizes in found.parts.items():
        table.add_row(name, *(size(count) if count else "" for count in sizes))
    table.add_section()
    table.add_row("together", *(size(count) for count in found.totals))
    table.add_row("of", *(size(found.capacity),) * 3)
    if found.host_capacity:
        table.add_section()
        used = ", ".join(f"{name} {size(count)}" for name, count in found.host.items())
        table.caption = (
            f"host memory a rank: {used}; together {size(sum(found.host.values()))} of {size(found.host_capacity)}"
        )
    return table


def step_table(found: Step, job: Job) -> Table:
    """Seconds by phase."""
    table = Table("phase", "seconds", "share", title="A step (rare things spread over the steps)")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, seconds in found.phases.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / found.total:.0%}")
    table.add_section()
    table.add_row("together", f"{found.total:.2f}", "")
    moved = swap.moved(job)
    table.caption = f"swap: {size(int(moved.loaded))} into an engine's rank, {size(int(moved.received))} of it by wire"
    return table


def layout_table(fits: tuple[Fit, ...]) -> Table:
    """Layouts that fit."""
    table = Table(title="Layouts that fit, by predicted seconds of a step; GiB of the fullest rank by state")
    names = ("tensor", "pipeline", "context", "expert", "expert_tensor", "rollout.tensor", "seconds")
    for name in (*names, *(state.value for state in STATES)):
        table.add_column(name, justify="right")
    for fit in fits:
        layout = fit.job.layout
        cut = layout.tensor, layout.pipeline, layout.context, layout.expert, layout.expert_tensor
        used = (f"{total / GIB:.1f}" for total in fit.memory.totals)
        table.add_row(*map(str, cut), str(fit.job.engines.tensor), f"{fit.step.total:.3g}", *used)
    return table


def refusal_table(refusals: tuple[Refusal, ...]) -> Table:
    """Why the others do not."""
    table = Table("layouts", "do not fit", "nearest", title="The others")
    for refusal in refusals:
        table.add_row(str(refusal.count), refusal.reason, refusal.nearest)
    return table


def as_json(plan: Plan, layouts: int) -> dict[str, Any]:
    """The same as plain values: bytes and seconds."""
    found: dict[str, Any] = {
        "name": plan.name,
        "gpu": plan.gpu,
        "ranks": plan.job.world,
        "model": {"name": plan.job.model.name, "parameters": plan.job.model.total, "active": plan.job.model.active},
        "layout": keys(plan.job),
        "work": asdict(plan.job.work),
        "fits": not plan.problems,
        "problems": list(plan.problems),
        "remedies": list(plan.remedies),
        "notes": list(plan.notes),
        "verdict": plan.verdict,
        "assumed": asdict(REACHED) | {"device": asdict(plan.job.device)},
    }
    if plan.memory and plan.step:
        states = [state.value for state in STATES]
        found["memory"] = {
            "parts": {name: dict(zip(states, sizes, strict=True)) for name, sizes in plan.memory.parts.items()},
            "together": dict(zip(states, plan.memory.totals, strict=True)),
            "capacity": plan.memory.capacity,
            "host": plan.memory.host,
            "host_capacity": plan.memory.host_capacity,
        }
        found["seconds"] = plan.step.phases | {"together": plan.step.total}
        found["swap"] = swap.seconds(plan.job)
    found["layouts"] = [
        {"keys": keys(fit.job), "seconds": fit.step.total, "bytes": max(fit.memory.totals)}
        for fit in plan.fits[:layouts]
    ]
    found["refusals"] = [asdict(refusal) for refusal in plan.refusals]
    return found
