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
        expert: ranks over which the experts are spread (inside tensor x context x data).
        expert_tensor: ranks that share one expert.
        virtual_pipeline: model chunks a stage, or None for one (needs ``pipeline`` > 1).
        context: ranks that share the tokens of a pack.
        sequence: sequence parallelism; None: on for an MoE with ``tensor`` > 1, where Megatron needs it.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    expert_tensor: int = 1
    virtual_pipeline: int | None = None
    sequence: bool | None = None
    context: int = 1

    def check(self, world: int) -> None:
        """Raises UserError with the arithmetic when the layout does not fit ``world`` ranks."""
        for name in ("tensor", "pipeline", "context", "expert", "expert_tensor"):
            if getattr(self, name) < 1:
                raise UserError(f"parallel.{name} is {getattr(self, name)}: it must be at least 1")
        if self.virtual_pipeline is not None and (self.virtual_pipeline < 2 or self.pipeline < 2):
            raise UserError(
                f"parallel.virtual_pipeline is {self.virtual_pipeline} with pipeline {self.pipeline}: "
                "interleaving needs at least 2 chunks and 2 stages; leave it empty"
            )
        self.sequence_parallel(moe=False)
        dense = self.tensor * self.pipeline * self.context
        if world % dense:
            factors = f"tensor {self.tensor} x pipeline {self.pipeline}"
            keys = "parallel.tensor, parallel.pipeline"
            if self.context > 1:
                factors, keys = f"{factors} x context {self.context}", f"{keys}, parallel.context"
            raise UserError(
                f"{world} ranks do not divide by {factors} = {dense}: "
                f"start a multiple of {dense} ranks or change {keys}"
            )
        expert = self.expert_tensor * self.expert * self.pipeline
        if world % expert:
            raise UserError(
                f"{world} ranks do not divide by expert_tensor {self.expert_tensor} x expert {self.expert} x "
                f"pipeline {self.pipeline} = {expert}: start a multiple of {expert} ranks or change "
                "parallel.expert_tensor, parallel.expert"
            )

    def spare_micro_batches(self, count: int) -> int:
        """How many empty micro-batches Megatron's interleaved schedule needs beside ``count`` others.

        It takes multiples of its stages. With two stages and two micro-batches the first stage has none left after
        its warm-up, its sends and receives no longer pair up with the other's, and both wait for ever (schedules.py of
        megatron-core 0.16.1); four work.
        """
        if self.virtual_pipeline is None:
            return 0
        return max(2 * self.pipeline, count + -count % self.pipeline) - count

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
        virtual_pipeline=parallel.virtual_pipeline,
        sequence=parallel.sequence,
        context=parallel.context,
    )
