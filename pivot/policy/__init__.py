"""The trained policy: a Megatron-core model, its weights in and out, its losses, optimizer and checkpoints.

Importing this package makes Megatron run on CPU where there is no CUDA device (see ``cpu.py``), which must
happen before any other import of Megatron.
"""

from pivot.policy import cpu

cpu.install()

from pivot.policy.checkpoint import CheckpointError, verify  # noqa: E402
from pivot.policy.optimizer import OptimizerSettings  # noqa: E402
from pivot.policy.packing import PackedGroup  # noqa: E402
from pivot.policy.policy import LossFn, Policy  # noqa: E402
from pivot.policy.topology import (  # noqa: E402
    data_parallel_rank,
    data_parallel_size,
    initialize,
    is_last_stage,
)

__all__ = [
    "CheckpointError",
    "LossFn",
    "OptimizerSettings",
    "PackedGroup",
    "Policy",
    "data_parallel_rank",
    "data_parallel_size",
    "initialize",
    "is_last_stage",
    "verify",
]
