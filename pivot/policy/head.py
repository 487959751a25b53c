"""Megatron's output layer, made to give scores instead of logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from torch import Tensor

from pivot.policy.logprobs import hidden_logprobs


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the next forward pass scores.

    Attributes:
        rows: [n] int64, positions of the sequence; one may come several times.
        targets: [n] int64, the token that each is scored on.
        temperature: of the distribution.
    """

    rows: Tensor
    targets: Tensor
    temperature: float


class ScoringHead:
    """Stands in for ``forward`` of the output layer of the last stage.

    A pivot is a long history and a short action, so most positions need no logits: the sequence is gathered over
    tensor ranks, the wanted rows are kept, and ``hidden_logprobs`` scores them without ever holding all their
    logits. The layer itself, with its weight, hooks and place in checkpoints, stays Megatron's; a weight that is tied
    to the embedding is passed in by the model, and gradients reach it through autograd as before.
    """

    def __init__(self, sequence_parallel: bool) -> None:
        self._sequence_parallel = sequence_parallel
        self._layer: Any = None
        self.wanted: Wanted | None = None  # set before each forward pass

    def install(self, model: GPTModel) -> None:
        """Puts this in the place of the forward of the model's output layer (a ColumnParallelLinear without bias)."""
        self._layer = model.output_layer
        if self._layer.bias is not None:
            raise ValueError("the output layer has a bias, which scores from hidden states leave out")
        self._layer.forward = self

    def __call__(
        self, hidden: Tensor, weight: Tensor | None = None, runtime_gather_output: bool | None = None
    ) -> tuple[Tensor, None]:
        """hidden [sequence (/ tensor ranks), 1, h] -> fp32 [n, 1, 2] (logprob, entropy), and no bias."""
        if self.wanted is None:
            raise RuntimeError("ScoringHead.wanted was not set before the forward pass")
        if self._sequence_parallel:
            # hidden_logprobs sums the gradient over tensor ranks itself, hence no reduce-scatter in backward
            hidden = gather_from_sequence_parallel_region(hidden, tensor_parallel_output_grad=False)
        scores = hidden_logprobs(
            hidden[:, 0].index_select(0, self.wanted.rows),
            self._layer.weight if weight is None else weight,
            self.wanted.targets,
            temperature=self.wanted.temperature,
            group=self._layer.tp_group,
        )
        return torch.stack(scores, -1).unsqueeze(1), None
