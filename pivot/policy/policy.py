"""The policy: one object that trains, scores, exports and checkpoints a model spread over ranks."""

from __future__ import annotations

import json
import shutil
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
from safetensors.torch import save_file
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import checkpoint, hf, optimizer
from pivot.policy.checkpoint_write import Saver
from pivot.policy.head import ScoringHead, Wanted
from pivot.policy.model import (
    Shape,
    build_chunks,
    check_layout,
    pair_cost,
    read_config,
    read_shape,
    transformer_config,
)
from pivot.policy.norms import norms
from pivot.policy.optimizer import OptimizerSettings
from pivot.policy.packing import Pack, PackedGroup, everywhere, pack
from pivot.policy.precision import check_machine, check_model, transformer_options
from pivot.policy.topology import from_last_stage
from pivot.precision import Precision, pack_multiple

LossFn = Callable[[int, Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]
"""(micro-batch index, logprobs [n], entropy [n]) -> (scalar loss that depends on them, metrics).

n counts the action tokens of the micro-batch, in order of groups and of actions.
"""

SHARD_BYTES = 4 << 30
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
        layout: Layout,
        dtype: torch.dtype,
        settings: OptimizerSettings | None,
        freeze_router: bool,
        recompute: str | None,
        precision: Precision,
        path: Path,
    ) -> None:
        """Use ``from_hf``."""
        self.hf_config = hf_config
        self.layout = layout
        self.dtype = dtype
        self._shape: Shape = read_shape(hf_config)
        check_layout(self._shape, layout)
        check_machine(precision)
        check_model(precision, self._shape, layout)
        config = transformer_config(self._shape, layout, dtype, recompute, transformer_options(precision))
        self._models: list[GPTModel]
        self._head: ScoringHead
        self._models, self._head = build_chunks(self._shape, config, freeze_router=freeze_router)
        hf.load(path, self._models, self._shape)
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
            precision, tensor=layout.tensor, context=1, sequence=config.sequence_parallel
        )  # of a context-parallel slice

    @property
    def pair_cost(self) -> float:
        """What a pair of attention costs against a token; see ``model.pair_cost``."""
        return pair_cost(self._shape)

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

        Raises:
            UserError: an unsupported model, a layout it does not divide by, or a damaged checkpoint, by name.
        """
        path = Path(path)
        if not parallel_state.model_parallel_is_initialized():
            raise RuntimeError("call pivot.policy.initialize(layout, seed) before Policy.from_hf")
        return cls(read_config(path), layout, dtype, optimizer, freeze_router, recompute, precision, path)

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
        self._check_count(len(micro_batches))
        count = len(micro_batches)
        spare = self.layout.spare_micro_batches(count)
        packs = [pack(samples, self._multiple, self._shape.vocab) for samples in (*micro_batches, *[()] * spare)]

        def forward(numbers: Iterator[int], model: Any) -> tuple[Tensor, Callable[..., Any]]:
            index = next(numbers)
            batch: Pack = packs[index]
            self._head.wanted = Wanted(batch.rows, batch.targets, temperature)
            output = model(batch.ids, None, None, packed_seq_params=batch.params)

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

    def _check_count(self, count: int) -> None:
        group = parallel_state.get_data_parallel_group()
        counts: list[Any] = [None] * group.size()
        dist.all_gather_object(counts, count, group=group)
        if min(counts) != max(counts) or not count:
            raise ValueError(
                f"micro-batches on the data-parallel ranks: {counts}; give every rank the same number, at "
                "least one (a micro-batch may be empty)"
            )

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every full tensor under its Hugging Face name, in the same order on every rank.

        Collective: every rank must iterate to the end. Tensors are in the policy's dtype and the caller's to
            keep.
        """
        return hf.export(self._models, self._shape, self.dtype)

    def hf_gradients(self) -> Iterator[tuple[str, Tensor]]:
        """The gradient of the last ``forward_backward``, as ``hf_weights``; zeros for frozen weights."""
        return hf.export(self._models, self._shape, torch.float32, gradients=True)

    def save_hf(self, directory: str | Path, source: str | Path) -> None:
        """Writes a checkpoint that transformers and vLLM load.

        Args:
            directory: made if needed; rank 0 writes there.
            source: checkpoint whose configuration, tokenizer and templates are copied.
        """
        directory, source = Path(directory), Path(source)
        writer = _ShardWriter(directory, self._shape, self.dtype) if dist.get_rank() == 0 else None
        for name, tensor in self.hf_weights():
            if writer is not None:
                writer.add(name, tensor)
        if writer is not None:
            writer.close()
            _copy_companions(directory, source, self.hf_config, self.dtype)
        dist.barrier()

    def save(self, directory: str | Path, extra: dict[str, Any], *, background: bool = False) -> None:
        """Writes an atomic checkpoint: weights, optimizer, random states, and the JSON-able ``extra``.

        Args:
            directory: final place; holds a complete checkpoint or what it held before.
            extra: returned by ``load``.
            background: return once the state is copied to host memory and write it while training goes on; a save
                that is still running is waited for first. ``finish_save`` says when it is on disk.

        Raises:
            CheckpointError: on every rank, with the reason, when this save or the one before it failed.
        """
        if self._optimizer is None:
            raise ValueError("this policy was built without an optimizer: use save_hf")
        self._saver.save(Path(directory), self._models, self._optimizer, self.layout, extra, background=background)

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


class _ShardWriter:
    """Collects tensors into safetensors files of at most SHARD_BYTES."""

    def __init__(self, directory: Path, shape: Shape, dtype: torch.dtype) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob("model*.safetensors*"):
            stale.unlink()
        self._directory = directory
        self._files: dict[str, int] = {}  # tensor -> number of its file
        self._total = used = 0
        number = 1
        for name, size in hf.hf_shapes(shape).items():
            cost = torch.Size(size).numel() * dtype.itemsize
            if used and used + cost > SHARD_BYTES:
                number, used = number + 1, 0
            used += cost
            self._total += cost
            self._files[name] = number
        self._count = number
        self._pending: dict[str, Tensor] = {}

    def _file(self, number: int) -> str:
        return "model.safetensors" if self._count == 1 else f"model-{number:05d}-of-{self._count:05d}.safetensors"

    def add(self, name: str, tensor: Tensor) -> None:
        """Takes the next tensor; tensors come in the order of ``hf_shapes``."""
        if self._pending and self._files[next(iter(self._pending))] != self._files[name]:
            self._write()
        self._pending[name] = tensor.cpu()

    def _write(self) -> None:
        number = self._files[next(iter(self._pending))]
        save_file(self._pending, self._directory / self._file(number), metadata={"format": "pt"})
        self._pending = {}

    def close(self) -> None:
        """Writes what is left, and the index when there are several files."""
        self._write()
        if self._count > 1:
            where = {name: self._file(number) for name, number in self._files.items()}
            index = {"metadata": {"total_size": self._total}, "weight_map": where}
            text = json.dumps(index, indent=1)
            (self._directory / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _copy_companions(directory: Path, source: Path, hf_config: dict[str, Any], dtype: torch.dtype) -> None:
    """Everything of ``source`` that is not weights, with the dtype in config.json made true."""
    if source.resolve() != directory.resolve():
        for file in source.iterdir():
            if (
                file.is_file()
                and file.suffix in (".json", ".jinja", ".txt", ".model", ".md", "")
                and "safetensors" not in file.name
            ):
                shutil.copyfile(file, directory / file.name)
    key = "torch_dtype" if "torch_dtype" in hf_config else "dtype"
    config = {**hf_config, key: str(dtype).removeprefix("torch.")}
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
