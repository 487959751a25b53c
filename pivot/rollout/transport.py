"""The receiving half of a weight swap: vLLM's weight-transfer interface, fed by an iterator of this very
process.

It lives with the engine because it needs nothing of the sender: `pivot.swap` hands over any iterator of HF
names and tensors. Import it only after `prepare_environment` (it imports vLLM).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from pivot.rollout import cpu

BACKEND = "pivot_in_process"


class MissingWeights(RuntimeError):
    """Parameters of the engine that an update did not reach."""


@dataclass
class NoInit(WeightTransferInitInfo):
    """Nothing to agree on: both sides are one process."""


@dataclass
class Stream(WeightTransferUpdateInfo):
    """One update: the weights, read once, in order, never kept."""

    weights: Iterable[tuple[str, torch.Tensor]] = field(default_factory=tuple)


class InProcessTransfer(WeightTransferEngine[NoInit, Stream]):
    """Loads HF-named tensors layer by layer through vLLM's layerwise reload, and insists on all of them."""

    init_info_cls = NoInit
    update_info_cls = Stream

    def init_transfer_engine(self, init_info: NoInit) -> None:
        """Nothing to connect."""

    def start_weight_update(self) -> None:
        """Begins an update of every layer."""
        self._loaded: set[str] = set()
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Stream) -> None:
        """Reads the stream into the model; vLLM fuses, packs and copies each layer once it is complete."""
        model: Any = self.model  # every vLLM model has load_weights; nn.Module does not say so
        self._loaded |= model.load_weights(update_info.weights)

    def finish_weight_update(self) -> None:
        """Ends the update.

        Raises:
            MissingWeights: some parameters received nothing; vLLM itself would keep their old values with a
                warning.
        """
        # After it, because while it loads a layer has its loading parameters, not those it runs with.
        finalize_layerwise_reload(self.model, self.model_config)
        if cpu.on_cpu():
            cpu.repack_tied_head(self.model)
        missing = sorted({name for name, _ in self.model.named_parameters()} - self._loaded)
        if missing:
            raise MissingWeights(f"{len(missing)} engine parameters received nothing: {', '.join(missing[:8])}")

    def shutdown(self) -> None:
        """Nothing to release."""


def register() -> None:
    """Makes `BACKEND` known to vLLM, once a process."""
    if BACKEND not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(BACKEND, InProcessTransfer)
