"""Next-token training on documents: the tiny model's pre-training and the SFT baseline, on the Megatron policy."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import lightning.pytorch as pl
import torch
from torch import Tensor

from pivot.mine.groups import Turn
from pivot.policy import PackedGroup, Policy, data_parallel_rank, data_parallel_size
from pivot.prompt import PromptEncoder
from pivot.train.packing import plan
from pivot.train.schedule import Schedule
from pivot.train.strategy import PolicyOptimizer


class Document(Protocol):
    """Token ids and the weight of each in the loss."""

    @property
    def tokens(self) -> Sequence[int]: ...
    @property
    def loss_weights(self) -> Sequence[float]: ...


@dataclass(frozen=True, slots=True)
class ActionDocument:
    """A history and the expert's action; only the action's tokens, end of turn included, are predicted."""

    tokens: Sequence[int]
    loss_weights: Sequence[float]


def action_document(turn: Turn, prompts: PromptEncoder) -> ActionDocument:
    """The SFT example of a turn: same prompt as in mining and training, the expert's action as the template prints it.

    Args:
        turn: as `pivot.mine.turns.encode` made it.
        prompts: what made it.
    """
    candidate = turn.candidate
    action = prompts.answer(candidate.messages, candidate.tools, candidate.expected)
    return ActionDocument([*turn.prompt, *action], [0.0] * len(turn.prompt) + [1.0] * len(action))


def endless(documents: Callable[[int], Iterable[Document]]) -> Iterator[Document]:
    """`documents(epoch)` for epoch 0, 1, 2, …, one after the other."""
    return itertools.chain.from_iterable(documents(epoch) for epoch in itertools.count())


class StepLoader:
    """Documents of about `tokens_per_step` tokens a step; step s always gets the same ones.

    Resume reads the stream from its start and drops what earlier steps used.
    """

    def __init__(self, stream: Callable[[], Iterator[Document]], *, tokens_per_step: int, steps: int) -> None:
        self._stream = stream
        self._tokens = tokens_per_step
        self._steps = steps
        self._next = 0

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[Document]]:
        stream = self._stream()
        for step in range(self._steps):
            batch = self._batch(stream)
            if step >= self._next:
                self._next = step + 1
                yield batch
        self._next = 0

    def _batch(self, stream: Iterator[Document]) -> list[Document]:
        batch: list[Document] = []
        while sum(len(document.tokens) for document in batch) < self._tokens:
            batch.append(next(stream))
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"next_step": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._next = state["next_step"]


class SupervisedModule(pl.LightningModule):
    """Weighted mean cross-entropy over the tokens of the whole batch, exact under any split."""

    def __init__(self, policy: Policy, *, schedule: Schedule, micro_batch_tokens: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.policy = policy
        self.schedule = schedule
        self.micro_batch_tokens = micro_batch_tokens

    def training_step(self, documents: list[Document], batch_idx: int) -> None:
        """One update on one batch of documents, the same list on every rank."""
        total = sum(sum(document.loss_weights[1:]) for document in documents)
        lengths = [len(document.tokens) for document in documents]
        mine = plan(lengths, lengths, data_parallel_size(), self.micro_batch_tokens)[data_parallel_rank()]
        packed = [[PackedGroup.sequence(torch.tensor(documents[i].tokens), 1) for i in indices] for indices in mine]
        weights = [torch.tensor([w for i in indices for w in documents[i].loss_weights[1:]]) for indices in mine]

        def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            value = -(logprobs * weights[index].to(logprobs.device)).sum() / total
            return value, {"loss": value.detach()}

        lr = self.schedule.rate(self.global_step)

        def update() -> tuple[float, float]:
            parts = self.policy.forward_backward(packed, loss)
            return sum(float(part["loss"]) for part in parts), self.policy.optimizer_step(lr)

        value, grad_norm = self.optimizers().step(update)
        share = torch.tensor(value)
        self.log_dict(
            {"loss": self.trainer.strategy.reduce(share, reduce_op="mean") * data_parallel_size(),
             "grad_norm": torch.tensor(grad_norm), "lr": torch.tensor(lr)}, batch_size=1, prog_bar=True,
        )  # fmt: skip

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch

    def configure_optimizers(self) -> Any:
        return PolicyOptimizer()
