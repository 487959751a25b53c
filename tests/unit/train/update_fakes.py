"""A policy small enough to follow by hand, ranks that are threads, and groups made of plain numbers."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.mine.groups import Group, Turn
from pivot.policy import PackedGroup
from pivot.rollout.routes import Routes
from pivot.train import update as update_module
from pivot.trajectory import Action, Candidate
from pivot.verify import Verdict
from pivot.verify.types import ERROR

VOCAB = 7


@dataclass(frozen=True)
class Sample:
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: str = "stop"
    text: str = ""
    weight_version: str = "0"
    older: tuple[tuple[str, int], ...] = ()
    routes: Routes | None = None


class World:
    """As many ranks as threads, with `pivot.ranks.gather` between them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.local = threading.local()
        self.barrier = threading.Barrier(size)
        self.slots: list[Any] = [None] * size

    def rank(self) -> int:
        return int(self.local.rank)

    def gather(self, part: Sequence[Any]) -> list[Any]:
        self.slots[self.rank()] = list(part)
        self.barrier.wait()
        everything = [item for slot in self.slots for item in slot]
        self.barrier.wait()
        return everything

    def run(self, work: Callable[[], Any]) -> list[Any]:
        """What `work` returns on each rank."""

        def start(rank: int) -> Any:
            self.local.rank = rank
            return work()

        def ended(done: Future[Any]) -> None:
            if done.exception() is not None:  # nobody waits for ever
                self.barrier.abort()

        with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(self.size) as pool:
            patch.setattr(update_module, "data_parallel_rank", self.rank)
            patch.setattr(update_module, "data_parallel_size", lambda: self.size)
            patch.setattr(update_module.ranks, "gather", self.gather)
            ranks = [pool.submit(start, rank) for rank in range(self.size)]
            for rank in ranks:
                rank.add_done_callback(ended)
        errors = [rank.exception() for rank in ranks]
        for error in errors:
            if error is not None and not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [rank.result() for rank in ranks]


@dataclass
class Bigram:
    """Logits of the next token by the last one; as a policy it has `Policy`'s three methods and takes SGD steps."""

    logits: Tensor
    world: World
    forwarded: int = 0
    gradient: Tensor = field(default_factory=lambda: torch.zeros(0))

    def scores(self, groups: Sequence[PackedGroup], temperature: float) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(0, dtype=torch.int64)
        pairs = [(group.history[-1:], action) for group in groups for action in group.actions]
        before = torch.cat([nothing, *(part for last, action in pairs for part in (last, action[:-1]))])
        targets = torch.cat([nothing, *(action for _, action in pairs)])
        logs = (self.logits / temperature).log_softmax(1)[before]
        return logs.gather(1, targets[:, None])[:, 0], -(logs.exp() * logs).sum(1)

    def logprobs(self, micro: Sequence[Sequence[PackedGroup]], *, temperature: float) -> list[tuple[Tensor, Tensor]]:
        with torch.no_grad():
            return [self.scores(samples, temperature) for samples in micro]

    def forward_backward(self, micro: Sequence[Sequence[PackedGroup]], loss: Any, *, temperature: float) -> Any:
        self.logits = self.logits.detach().requires_grad_()
        metrics = []
        for index, samples in enumerate(micro):
            self.forwarded += sum(len(group.actions) for group in samples)
            value, seen = loss(index, *self.scores(samples, temperature))
            value.backward()
            metrics.append(seen)
        assert self.logits.grad is not None
        self.gradient = torch.stack(self.world.gather([self.logits.grad])).sum(0)
        return metrics

    def norms(self) -> dict[str, float]:
        return {"grad_norm/head": float(self.gradient.norm())}

    def optimizer_step(self, lr: float) -> float:
        self.logits = self.logits.detach() - lr * self.gradient
        return float(self.gradient.norm())


def logits(seed: int) -> Tensor:
    return torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sample(seed: int, length: int, noise: float = 0.3, finish: str = "stop") -> Sample:
    """Random tokens; the engine's logprobs are those of `logits(0)` after token 1, with noise."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCAB, (length,), generator=generator)
    exact = logits(0).log_softmax(1)[torch.cat([torch.tensor([1]), tokens[:-1]]), tokens]
    engine = exact + noise * torch.randn(length, generator=generator, dtype=torch.float64)
    return Sample(tuple(tokens.tolist()), tuple(engine.tolist()), finish)


def verdict(reward: float | str) -> Verdict:
    """A number is a reward; `error` is none; any other text is the reason of a 0."""
    if isinstance(reward, str):
        return Verdict(0.0, reward, status=ERROR) if reward == "error" else Verdict(0.0, reward)
    return Verdict(reward, "match" if reward == 1 else "name_mismatch:x")


def group(samples: Sequence[Sample], rewards: Sequence[float | str]) -> Group:
    """Behind a prompt that ends in token 1."""
    turn = Turn(Candidate("id", "t", 0, 1, (), (), Action("x"), "tool_use", None, ""), (3, 1))
    return Group(turn, tuple(samples), tuple(verdict(reward) for reward in rewards))
