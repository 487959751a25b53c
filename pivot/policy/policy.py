"""The policy: one object that trains, scores, exports and checkpoints a model spread over ranks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.models.gpt import GPTModel
from megatron.core.optimizer.optimizer import MegatronOptimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import checkpoint, optimizer, storages
from pivot.policy.balance import Balance, chunk_mask
from pivot.policy.checkpoint_write import Saver, serialized_random_state
from pivot.policy.family import Family, Setup, open_family
from pivot.policy.head import ScoringHead, Wanted
from pivot.policy.hf_shards import Shard
from pivot.policy.hf_write import ShardWriter, copy_companions
from pivot.policy.norms import norms
from pivot.policy.optimizer import OptimizerSettings
from pivot.policy.packing import Pack, PackedGroup, everywhere
from pivot.policy.precision import check_machine
from pivot.policy.topology import from_last_stage
from pivot.precision import Precision, pack_multiple
from pivot.shape import read_config

LossFn = Callable[[int, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(micro-batch index, logprobs [n], entropy [n]) -> (scalar loss that depends on them, metrics).

n counts the action tokens of the micro-batch, in order of groups and of actions.
"""

NO_FP8 = Precision()


class Policy:
    """A causal language model on Megatron-core. Build it with ``from_hf``; all methods are collective.

    Attributes:
        hf_config: ``config.json`` of the checkpoint it came from.
        layout: how it is spread over ranks.
        dtype: of its parameters (optimizer state and gradients are fp32).
    """

    def __init__(
        self,
        hf_config: dict[str, Any],
        family: Family,
        setup: Setup,
        settings: OptimizerSettings | None,
    ) -> None:
        """Use ``from_hf``."""
        self.hf_config = hf_config
        self.layout = layout = setup.layout
        self.dtype = dtype = setup.dtype
        self._balance = setup.balance
        check_machine(setup.precision)
        self._family = family
        self._models: list[GPTModel]
        self._head: ScoringHead
        config, self._models, self._head = family.build(setup)
        family.load(self._models)
        wrapped: list[Any] = list(self._models)
        if dtype is not torch.float32:
            wrapped = [Float16Module(config, model) for model in wrapped]
        self._optimizer: MegatronOptimizer | None = None
        if settings is not None:
            buckets = DistributedDataParallelConfig(
                grad_reduce_in_fp32=True, use_distributed_optimizer=settings.distributed
            )
            wrapped = [
                DistributedDataParallel(config, buckets, model, disable_bucketing=i > 0)
                for i, model in enumerate(wrapped)
            ]
            self._optimizer = optimizer.build(settings, wrapped, dtype)
        # no token count is passed on: Megatron would divide by it, the caller's loss is already what it wants
        config.finalize_model_grads_func = lambda models, _, **rest: finalize_model_grads(models, None, **rest)
        self._wrapped = wrapped
        self._saver = Saver()
        self._multiple = pack_multiple(
            setup.precision, tensor=layout.tensor, context=1, sequence=config.sequence_parallel
        )  # of a context-parallel slice

    @property
    def pair_cost(self) -> float:
        """What a pair of attention costs against a token; see ``model.pair_cost``."""
        return self._family.pair_cost

    @classmethod
    def from_hf(
        cls,
        path: str | Path,
        layout: Layout,
        *,
        dtype: torch.dtype = torch.float32,
        optimizer: OptimizerSettings | None,
        freeze_router: bool = True,
        recompute: str | None = None,
        precision: Precision = NO_FP8,
        router_aux_loss: float = 0.0,
        router_replay: bool = False,
    ) -> Policy:
        """Loads a Hugging Face checkpoint (safetensors, single or sharded), each rank only what it owns.

        Args:
            path: checkpoint directory.
            layout: what ``topology.initialize`` was called with.
            dtype: of parameters and activations; the checkpoint is cast.
            optimizer: None for a policy that only scores and exports.
            freeze_router: keep the routing weights of an MoE as they are.
            recompute: None, "selective" or "full" activation recomputation.
            precision: FP8 of the matrix products, or none.
            router_aux_loss: coefficient of the load-balancing loss (``balance.py``); 0 for none.
            router_replay: choose the experts that the routes of a group name (``replay.py``); else they are ignored.

        Raises:
            UserError: an unsupported model, a layout it does not divide by, or a damaged checkpoint, by name.
        """
        path = Path(path)
        if not parallel_state.model_parallel_is_initialized():
            raise RuntimeError("call pivot.policy.initialize(layout, seed) before Policy.from_hf")
        hf_config = read_config(path)
        setup = Setup(layout, dtype, recompute, precision, freeze_router, Balance(router_aux_loss), router_replay)
        return cls(hf_config, open_family(path, hf_config), setup, optimizer)

    def forward_backward(
        self, micro_batches: Sequence[Sequence[PackedGroup]], loss: LossFn, *, temperature: float = 1.0
    ) -> list[dict[str, Tensor]]:
        """Gradient of the sum of ``loss`` over all micro-batches of all data-parallel ranks.

        It is a sum: normalise inside ``loss`` by what is fixed for the whole step (such as its number of
        tokens). Cutting a batch differently into micro-batches or over ranks then changes nothing.

        Args:
            micro_batches: this data-parallel rank's share, the same on all ranks of its model-parallel group;
                every data-parallel rank must have as many. A micro-batch may be empty.
            loss: called on the last stage with (index, logprobs [n] fp32, entropy [n] fp32), both in order of
                groups and actions.
            temperature: of logprobs and entropy.

        Returns:
            The metrics of this rank's micro-batches, detached, on CPU, on every stage.

        Raises:
            ValueError: no optimizer, no micro-batch, or not as many on every data-parallel rank.
        """
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: it only scores and exports")
        for chunk in self._wrapped:
            chunk.zero_grad_buffer()
        self._optimizer.zero_grad()

        def score(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
            value, metrics = loss(index, logprobs, entropy)
            one = torch.ones((), dtype=torch.int, device=value.device)
            return value, one, {name: metric.detach().cpu() for name, metric in metrics.items()}

        return self._run(micro_batches, score, temperature, forward_only=False)

    def optimizer_step(self, lr: float) -> float:
        """Applies the gradient of the last ``forward_backward``; returns its global norm before clipping.

        Raises:
            FloatingPointError: the norm is not finite; nothing was updated.
        """
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: it only scores and exports")
        return optimizer.step(self._optimizer, lr)

    def norms(self) -> dict[str, float]:
        """``grad_norm/<kind>``, ``param_norm/<kind>`` by kind of layer; call it before ``optimizer_step``."""
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: it only scores and exports")
        return norms(self._models, self._optimizer)

    @torch.no_grad()
    def logprobs(
        self, micro_batches: Sequence[Sequence[PackedGroup]], *, temperature: float = 1.0
    ) -> list[tuple[Tensor, Tensor]]:
        """Per micro-batch (logprobs [n], entropy [n]) of the action tokens, fp32 on CPU, on every stage.

        Arguments and errors as in ``forward_backward``.
        """

        def keep(_: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, Tensor]:
            return logprobs.cpu(), entropy.cpu()

        return self._run(micro_batches, keep, temperature, forward_only=True)

    def _run(
        self,
        micro_batches: Sequence[Sequence[PackedGroup]],
        finish: Callable[..., Any],
        temperature: float,
        *,
        forward_only: bool,
    ) -> list[Any]:
        """Megatron's schedule over ``micro_batches``; what ``finish`` returned for each, on every stage."""
        count = len(micro_batches)
        self._balance.tokens = self._check_count(count, sum(group.rows for batch in micro_batches for group in batch))
        spare = self.layout.spare_micro_batches(count)
        packs = [self._family.pack(groups, self._multiple) for groups in (*micro_batches, *[()] * spare)]

        def forward(numbers: Iterator[int], model: Any) -> tuple[Tensor, Callable[..., Any]]:
            index = next(numbers)
            batch: Pack = packs[index]
            self._head.wanted = Wanted(batch.rows, batch.targets, temperature)
            more = {}
            if self._balance.coefficient:
                chunk = next(chunk for chunk, it in zip(self._models, self._wrapped, strict=True) if it is model)
                more["padding_mask"] = chunk_mask(batch.padding, chunk)
            output = model(batch.ids, None, None, packed_seq_params=batch.params, **more)

            def after(scores: Tensor, non_loss_data: bool = False) -> Any:
                """scores: [1, n, 2], of the head."""
                if index >= count:
                    return None if forward_only else (0.0 * scores.sum(), torch.ones((), dtype=torch.int), {})
                return finish(index, *(everywhere(score, batch) for score in scores[0].unbind(-1)))

            return output, after

        results = get_forward_backward_func()(
            forward_step_func=forward,
            data_iterator=[iter(range(len(packs))) for _ in self._wrapped],
            model=self._wrapped,
            num_microbatches=len(packs),
            seq_length=max(batch.ids.numel() for batch in packs),
            micro_batch_size=1,
            forward_only=forward_only,
            collect_non_loss_data=forward_only,
        )
        self._head.wanted = None
        return list(from_last_stage(results))[:count]  # type: ignore[call-overload]

    def _check_count(self, count: int, tokens: int) -> int:
        """The number of ``tokens`` of all data-parallel ranks."""
        group = parallel_state.get_data_parallel_group()
        found: list[Any] = [None] * group.size()
        dist.all_gather_object(found, (count, tokens), group=group)
        counts = [each for each, _ in found]
        if min(counts) != max(counts) or not count:
            raise ValueError(
                f"micro-batches on the data-parallel ranks: {counts}; give every rank the same number, at "
                "least one (a micro-batch may be empty)"
            )
        return sum(each for _, each in found)

    def storages(self) -> storages.Storages:
        """Where this rank's parameters, gradients and optimizer state are; not collective."""
        return storages.find(self._models, self._wrapped, self._optimizer)

    def drop_gradients(self) -> None:
        """Forgets the gradients of the last ``forward_backward``; not collective."""
        if self._optimizer is not None:
            self._optimizer.zero_grad()

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every full tensor under its Hugging Face name, in the same order on every rank.

        Collective: every rank must iterate to the end. Tensors are in the policy's dtype and the caller's to
            keep.
        """
        return self._family.export(self._models, self.dtype)

    def shards(self) -> Iterator[Shard] | None:
        """This rank's part of every Hugging Face tensor, as views of its parameters; not collective.

        None where the family can only export full tensors.
        """
        return self._family.shards(self._models)

    def hf_gradients(self) -> Iterator[tuple[str, Tensor]]:
        """The gradient of the last ``forward_backward``, as ``hf_weights``; zeros for frozen weights."""
        return self._family.export(self._models, torch.float32, gradients=True)

    def save_hf(self, directory: str | Path, source: str | Path) -> None:
        """Writes a checkpoint that transformers and vLLM load.

        Args:
            directory: made if needed; rank 0 writes there.
            source: checkpoint whose configuration, tokenizer and templates are copied.
        """
        directory, source = Path(directory), Path(source)
        writer = ShardWriter(directory) if dist.get_rank() == 0 else None
        for name, tensor in self.hf_weights():
            if writer is not None:
                writer.add(name, tensor)
        if writer is not None:
            writer.close()
            copy_companions(directory, source, self.hf_config, self.dtype)
        dist.barrier()

    def save(
        self,
        directory: str | Path,
        extra: dict[str, Any],
        *,
        background: bool = False,
        random: bytes | None = None,
        fence: Callable[[], None] | None = None,
    ) -> None:
        """Writes an atomic checkpoint: weights, optimizer, random states, and the JSON-able ``extra``.

        Args:
            directory: final place; holds a complete checkpoint or what it held before.
            extra: returned by ``load``.
            background: return once the state is copied to host memory and write it while training goes on; a save
                that is still running is waited for first. ``finish_save`` says when it is on disk.
            random: what ``random_state`` has returned, for weights that have not changed since then; None: of now.
            fence: called on rank 0 before the checkpoint appears; a RuntimeError keeps it from appearing.

        Raises:
            CheckpointError: on every rank, with the reason, when this save or the one before it failed.
        """
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: use save_hf")
        self._saver.save(
            Path(directory),
            self._models,
            self._optimizer,
            self.layout,
            extra,
            background=background,
            random=random,
            fence=fence,
        )

    def random_state(self) -> bytes:
        """Every random state of this rank as it is now, for a checkpoint that is written later."""
        return serialized_random_state()

    @property
    def save_seconds(self) -> float | None:
        """How long the newest save took that is known to be whole."""
        return self._saver.seconds

    def finish_save(self, *, wait: bool = True) -> bool:
        """Whether every save is on disk on every rank; with ``wait``, not before that is so.

        Raises:
            CheckpointError: the last save failed, with the reason; what was on disk before it still is.
        """
        return self._saver.finish(wait=wait)

    def drain_save(self, seconds: float) -> None:
        """Lets this rank's part of a running save end, at most so long; not collective, raises nothing.

        For a program that is about to end on an error.
        """
        self._saver.drain(seconds)

    def load(self, directory: str | Path) -> dict[str, Any]:
        """Restores what ``save`` wrote, bit for bit in the same layout; returns ``extra``.

        Raises:
            CheckpointError: on every rank, with the reason, before anything is changed.
        """
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: use from_hf")
        self._saver.finish()
        return checkpoint.load(Path(directory), self._models, self._optimizer, self.layout)
