"""What runs on the ranks of the checkpoint tests."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch import Tensor

from pivot.attempt.lock import Replaced
from pivot.layout import Layout
from pivot.policy import CheckpointError, OptimizerSettings, Policy
from pivot.train.retention import prune, resume_point
from tests.parity import workers
from tests.parity.workers import Samples

STEPS = 5


def weights(policy: Policy) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in policy.hf_weights()}


def step(policy: Policy, samples: Samples) -> float:
    """One update; the loss of the whole batch before it."""
    parts = workers.gradient(policy, samples)
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, {int(part["index"]): float(part["loss"]) for part in parts})
    policy.optimizer_step(workers.LR)
    return sum({index: loss for each in found for index, loss in each.items()}.values())


def go_on(policy: Policy, samples: Samples) -> dict[str, Any]:
    """Logprobs, five more steps, and the weights before and after them."""
    before, logprobs = weights(policy), workers.scores(policy, samples, 1.0)[0]
    losses = [step(policy, samples) for _ in range(STEPS)]
    return {"before": before, "logprobs": logprobs, "losses": losses, "after": weights(policy)}


@contextmanager
def held_back(policy: Policy) -> Iterator[None]:
    """The thread that writes in the background does nothing before the end of this block."""
    gate = threading.Event()
    policy._saver._thread.submit(gate.wait)
    yield
    gate.set()


def save(path: Path, samples: Samples, layout: Layout, folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Three steps; a save in front and one behind of the same state; then ``go_on``, then another save behind.

    Both saves behind are held back until training has gone on, or every tensor has been overwritten.
    """
    policy = workers.build(path, layout, **options)
    for _ in range(3):
        step(policy, samples)
    policy.save(folder / "front", {"step": 3})
    with held_back(policy):
        policy.save(folder / "behind", {"step": 3}, background=True)
        result = go_on(policy, samples)
        result["finished"] = [policy.finish_save(wait=False)]
    policy.finish_save()
    with held_back(policy):
        policy.save(folder / "overwritten", {"step": 8}, background=True)
        for chunk in policy._models:
            for parameter in chunk.parameters():
                parameter.data.fill_(float("nan"))
        result["finished"].append(policy.finish_save(wait=False))
    policy.finish_save()
    result["finished"].append(policy.finish_save(wait=False))
    return result


def load(
    path: Path, samples: Samples, places: list[tuple[Layout, str]], folder: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """``go_on`` in each layout from the checkpoint named with it."""
    results = []
    for layout, name in places:
        policy = workers.build(path, layout, **options)
        results.append({"extra": policy.load(folder / name), **go_on(policy, samples)})
    return results


def save_then_load(
    path: Path, samples: Samples, layout: Layout, names: list[str], folder: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """``save``, and ``load`` into new policies of the same layout."""
    saved = save(path, samples, layout, folder, options)
    return {"saved": saved, "loaded": load(path, samples, [(layout, name) for name in names], folder, options)}


def fail_and_wait(path: Path, samples: Samples, folder: Path) -> dict[str, Any]:
    """Saves without room, in front and behind; then four saves behind without a pause, and a load."""
    policy = workers.build(path, Layout(tensor=2, expert=2))
    policy.save(folder / "good", {"step": 0})
    told = [save_without_room(policy, samples, folder, background=background) for background in (False, True)]
    told += [[save_replaced(policy, folder, background=background)] for background in (False, True)]
    left = sorted(found.name for found in folder.iterdir())
    dist.barrier()
    losses = []
    for number in range(4):
        policy.save(folder / f"{number}", {"step": number}, background=True)
        losses.append(step(policy, samples))
    extra = policy.load(folder / "3")
    return {"told": told, "left": left, "extra": extra, "again": step(policy, samples), "losses": losses}


def save_without_room(policy: Policy, samples: Samples, folder: Path, *, background: bool) -> list[str]:
    """What each way to notice says when rank 1 can't write files of more than 100,000 bytes."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if dist.get_rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    told = []
    try:
        policy.save(folder / "failed", {"step": 1}, background=background)
        step(policy, samples)
        policy.finish_save()
    except CheckpointError as error:
        told.append(str(error))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    told.append(f"finished afterwards: {policy.finish_save()}")  # a failure is told once
    return told


def save_replaced(policy: Policy, folder: Path, *, background: bool) -> str:
    """What is said when rank 0 finds that it may not publish any more."""

    def fence() -> None:
        raise Replaced("this attempt has been replaced by process 1")

    try:
        policy.save(folder / "good", {"step": 1}, background=background, fence=fence)
        policy.finish_save()
    except CheckpointError as error:
        return str(error)
    return ""


def load_anothers(path: Path, other: Path, folder: Path) -> str:
    """What is said about the checkpoint of another model."""
    workers.build(other, Layout()).save(folder / "other", {})
    policy = workers.build(path, Layout())
    try:
        policy.load(folder / "other")
    except CheckpointError as error:
        return str(error)
    return ""


def digest(policy: Policy) -> str:
    """Of this rank's parameters."""
    total = hashlib.sha256()
    for chunk in policy._models:
        for parameter in chunk.parameters():
            total.update(parameter.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def run_until_killed(path: Path, samples: Samples, layout: Layout, folder: Path, log: Path) -> None:
    """A training loop that saves behind after every step and keeps two, as a run does, and ends with the test.

    Rank 0 logs ``resumed N`` and ``saving N`` with the digest of its weights at step N.
    """
    parent = os.getppid()
    policy = workers.build(path, layout, optimizer=OptimizerSettings(distributed=True))

    def say(word: str, number: int) -> None:
        line = f"{word} {number} {digest(policy)}\n"
        if dist.get_rank() == 0:
            with log.open("a") as handle:
                handle.write(line)

    found = resume_point(folder)
    number = policy.load(found)["step"] if found else 0
    say("resumed", number)
    while os.getppid() == parent:  # no orphan outlives a test that was killed itself
        step(policy, samples)
        number += 1
        policy.finish_save()
        if dist.get_rank() == 0:
            prune(folder, 2, None)
        say("saving", number)
        policy.save(folder / f"step-{number:06d}", {"step": number}, background=True)
