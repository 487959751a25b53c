"""The parallel layout: sizes that have to multiply up to the world. Plain arithmetic, checked before ranks start."""

from dataclasses import dataclass

from pivot.config import ParallelSection
from pivot.errors import UserError


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes of the model-parallel dimensions; what is left of the world is data parallel.

    Attributes:
        tensor: ranks that share one layer.
        pipeline: stages.
        expert: ranks over which the experts are spread (inside tensor x data).
        expert_tensor: ranks that share one expert.
        virtual_pipeline: model chunks a stage, or None for one (needs ``pipeline`` > 1).
        sequence: sequence parallelism; None: on for an MoE with ``tensor`` > 1, where Megatron needs it.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int = 1
    virtual_pipeline: int | None = None
    sequence: bool | None = None

    def check(self, world: int) -> None:
        """Raises UserError with the arithmetic when the layout does not fit ``world`` ranks."""
        for name in ("tensor", "pipeline", "expert", "expert_tensor"):
            if getattr(self, name) < 1:
                raise UserError(f"parallel.{name} is {getattr(self, name)}: it must be at least 1")
        if self.virtual_pipeline is not None and (self.virtual_pipeline < 2 or self.pipeline < 2):
            raise UserError(
                f"parallel.virtual_pipeline is {self.virtual_pipeline} with pipeline {self.pipeline}: "
                "interleaving needs at least 2 chunks and 2 stages; leave it empty"
            )
        dense = self.tensor * self.pipeline
        if world % dense:
            raise UserError(
                f"{world} ranks do not divide by tensor {self.tensor} x pipeline {self.pipeline} = {dense}: "
                f"start a multiple of {dense} ranks or change parallel.tensor, parallel.pipeline"
            )
        expert = self.expert_tensor * self.expert * self.pipeline
        if world % expert:
            raise UserError(
                f"{world} ranks do not divide by expert_tensor {self.expert_tensor} x expert {self.expert} x "
                f"pipeline {self.pipeline} = {expert}: start a multiple of {expert} ranks or change "
                "parallel.expert_tensor, parallel.expert"
            )

    def sequence_parallel(self, moe: bool) -> bool:
        """Whether sequence parallelism is on for this layout.

        Raises:
            UserError: it was switched off for an MoE under tensor parallelism, or on without the latter.
        """
        if self.sequence is None:
            return self.tensor > 1 and moe
        if self.sequence and self.tensor == 1:
            raise UserError("parallel.sequence is true with tensor 1: sequence parallelism needs tensor > 1")
        if not self.sequence and self.tensor > 1 and moe:
            raise UserError(
                f"parallel.sequence is false with tensor {self.tensor}: an MoE under tensor parallelism needs it"
            )
        return self.sequence


def layout(parallel: ParallelSection) -> Layout:
    """The layout that a configuration asks for."""
    return Layout(
        tensor=parallel.tensor,
        pipeline=parallel.pipeline,
        expert=parallel.expert,
        expert_tensor=parallel.expert_tensor,
        sequence=parallel.sequence,
    )
