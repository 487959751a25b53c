"""Where the engine of a rank stands: the trainer's ranks, cut anew into replicas of the engine. Plain arithmetic."""

from dataclasses import dataclass
from typing import Self

from pivot.errors import UserError


@dataclass(frozen=True, slots=True)
class Placement:
    """This rank's place among the engine replicas.

    Replicas are runs of neighbouring ranks, as vLLM's `external_launcher` cuts them
    (`distributed/parallel_state.py`, `initialize_model_parallel`): tensor parallel is the innermost dimension. The
    cut has nothing to do with the training layout's.

    Attributes:
        tensor: Ranks that share one replica (vLLM's tensor parallel size).
        expert_parallel: Whether a replica's ranks hold whole experts, each some of them; else a slice of every one.
        replicas: How many replicas the world holds.
        replica: Which one this rank belongs to, from 0.
        tensor_rank: This rank's place in it, from 0.
    """

    tensor: int = 1
    expert_parallel: bool = False
    replicas: int = 1
    replica: int = 0
    tensor_rank: int = 0

    @classmethod
    def of(cls, rank: int, world: int, *, tensor: int = 1, expert_parallel: bool = False) -> Self:
        """The place of `rank` in a world of `world` ranks.

        Raises:
            UserError: the replicas do not fit the world, with the arithmetic.
        """
        check(world, tensor=tensor, expert_parallel=expert_parallel)
        return cls(tensor, expert_parallel, world // tensor, rank // tensor, rank % tensor)

    @property
    def first(self) -> bool:
        """Whether this rank speaks for its replica: all its ranks draw the same samples."""
        return self.tensor_rank == 0

    @property
    def ranks(self) -> range:
        """The ranks of this replica."""
        return range(self.replica * self.tensor, (self.replica + 1) * self.tensor)


def check(world: int, *, tensor: int, expert_parallel: bool) -> None:
    """Refuses replicas that do not fit `world` ranks.

    Raises:
        UserError: with the arithmetic and the key to change.
    """
    if tensor < 1:
        raise UserError(f"rollout.tensor is {tensor}: it must be at least 1")
    if expert_parallel and tensor == 1:
        raise UserError(
            "rollout.expert_parallel is true with rollout.tensor 1: the experts of a replica are spread over its "
            "ranks, so it needs rollout.tensor > 1"
        )
    if world % tensor:
        raise UserError(
            f"{world} ranks do not divide into engine replicas of rollout.tensor {tensor} ranks: "
            f"{world} = {world // tensor} x {tensor} + {world % tensor}; start a multiple of {tensor} ranks or change "
            "rollout.tensor"
        )
