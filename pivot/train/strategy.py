"""Lightning's strategy for a policy that Megatron shards: it owns process ranks and checkpoints, and wraps nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy

from pivot.policy import Policy
from pivot.train.boundary import Boundary

KEPT = ("epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks")


class MegatronStrategy(DDPStrategy):
    """DDPStrategy for ranks and collectives; Megatron, not torch DDP, reduces gradients and shards checkpoints.

    A checkpoint is a directory that the policy writes atomically (weights, optimizer, RNG of every rank) with
    Lightning's own loop, callback and loader state beside it as JSON.
    """

    def __init__(
        self, policy: Policy, *, background: bool = False, fence: Callable[[], None] = lambda: None, **kwargs: Any
    ) -> None:
        """See the class.

        Args:
            policy: what is trained.
            background: checkpoints are written while training goes on (`Checkpoints` waits for them).
            fence: called on rank 0 before a checkpoint appears; a RuntimeError keeps it from appearing.
            **kwargs: of DDPStrategy.
        """
        super().__init__(**kwargs)
        self._policy = policy
        self._background = background
        self._fence = fence

    def configure_ddp(self) -> None:
        """The policy is not a module of Lightning's, so there is nothing to wrap."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: str | Path, storage_options: Boundary | None = None
    ) -> None:
        """Collective: every rank writes its shards below `filepath`, at once or in the background.

        Args:
            checkpoint: Lightning's state of now.
            filepath: Of the checkpoint.
            storage_options: The state to write in its place, with the random states of its moment: that of the last
                complete step, when the one after it is given up before it has changed the policy.

        Raises:
            CheckpointError: this save or the one before it failed, with the reason.
        """
        kept, random = {key: checkpoint[key] for key in KEPT}, None
        if storage_options is not None:
            kept, random = storage_options.kept, storage_options.random
        self._policy.save(Path(filepath), kept, background=self._background, random=random, fence=self._fence)

    def load_checkpoint(self, checkpoint_path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Collective: restores policy, optimizer and RNG; returns what Lightning restores itself.

        Raises:
            CheckpointError: damaged or half-written, with the file and the reason.
        """
        kept = self._policy.load(Path(checkpoint_path))
        return kept | {"state_dict": {}, "optimizer_states": [], "lr_schedulers": []}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """`load_checkpoint` has restored the weights already."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """`load_checkpoint` has restored the optimizer already."""


class PolicyOptimizer(torch.optim.Optimizer):
    """What Lightning counts as the optimizer: its step runs the closure, which trains the Megatron policy.

    Lightning's `global_step` is the number of optimizer steps, so every training step goes through here once.
    """

    def __init__(self) -> None:
        super().__init__([torch.nn.Parameter(torch.zeros(()))], {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        return closure() if closure else None
