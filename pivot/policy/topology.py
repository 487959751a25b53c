"""Which rank does what: the parallel layout, the process group and Megatron's groups."""

from __future__ import annotations

import logging
import os
import socket

import torch
import torch.distributed as dist
from megatron.core import parallel_state, tensor_parallel

from pivot.errors import UserError
from pivot.layout import Layout


def device() -> torch.device:
    """The device of this rank."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device("cpu")


def initialize(layout: Layout, seed: int) -> None:
    """Creates the process group (when there is none), Megatron's groups and the seeds of this rank.

    The process group is made from the environment of torchrun or srun (RANK, WORLD_SIZE, MASTER_ADDR,
    MASTER_PORT), or is a world of one. Call it before an inference engine is made in the same process: the
    engine then reuses the group. Calling it again re-cuts the same world, for which every rank has to call
    it.

    Args:
        layout: the sizes; see ``Layout.check``.
        seed: Megatron derives one seed for each tensor, pipeline and expert rank.

    Raises:
        UserError: the layout does not fit the number of ranks.
    """
    world = dist.get_world_size() if dist.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
    layout.check(world)
    where = device()
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if not dist.is_initialized():
        backend = "nccl" if where.type == "cuda" else "gloo"
        if "RANK" in os.environ:
            _join(backend)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if parallel_state.model_parallel_is_initialized():
        parallel_state.destroy_model_parallel()
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=layout.tensor,
        pipeline_model_parallel_size=layout.pipeline,
        virtual_pipeline_model_parallel_size=layout.virtual_pipeline,
        expert_model_parallel_size=layout.expert,
        expert_tensor_parallel_size=layout.expert_tensor,
        context_parallel_size=layout.context,
    )
    # Megatron warns on every rank about CUDA_DEVICE_MAX_CONNECTIONS and the like, which say nothing on CPU
    logging.getLogger("megatron.core").setLevel(logging.ERROR)
    tensor_parallel.model_parallel_cuda_manual_seed(seed)


def _join(backend: str) -> None:
    """The process group of the environment's ranks."""
    try:
        dist.init_process_group(backend)
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        port = os.environ.get("MASTER_PORT")
        raise UserError(f"MASTER_PORT={port} is taken on {socket.gethostname()}: set another one") from None


def data_parallel_rank() -> int:
    """Which share of the batch this rank trains on."""
    return parallel_state.get_data_parallel_rank()


def data_parallel_size() -> int:
    """Into how many shares a batch is cut."""
    return parallel_state.get_data_parallel_world_size()


def is_last_stage() -> bool:
    """Whether this rank holds the output layer, and so computes logprobs and losses."""
    return parallel_state.is_pipeline_last_stage(ignore_virtual=True)


def from_last_stage(value: object) -> object:
    """The last stage's ``value`` on every stage of this pipeline (any picklable value, on CPU)."""
    group = parallel_state.get_pipeline_model_parallel_group()
    if group.size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=parallel_state.get_pipeline_model_parallel_last_rank(), group=group)
    return box[0]
