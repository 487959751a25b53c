"""How this project starts vLLM: the settings of an engine in the trainer's processes."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from pivot.errors import UserError
from pivot.rollout.placement import Placement

if TYPE_CHECKING:
    from vllm import LLM

SETTINGS: dict[str, Any] = {
    "enable_prefix_caching": True,
    # log-softmax at the sampling temperature: what a trainer's loss is computed on.
    "logprobs_mode": "processed_logprobs",
    # The checkpoint's generation_config.json must not change how we sample.
    "generation_config": "vllm",
    "seed": 0,
    "disable_log_stats": True,
}
"""Arguments of vLLM that every engine gets, colocated or a server."""


GRAPHS: dict[str, Any] = {
    "enforce_eager": False,
    "compilation_config": {"mode": "NONE", "cudagraph_mode": "FULL_DECODE_ONLY"},
}
"""Decode steps are recorded and replayed, and nothing is compiled, so that an engine computes what it does without.
A graph reads weights where they were when it was recorded. They stay there: a weight update copies what it has loaded
into the tensors that were there (`model_executor/model_loader/reload/layerwise.py`), and memory that slept comes back
at its old address (`device_allocator/cumem.py`)."""


def decoding(cuda_graphs: bool) -> dict[str, Any]:
    """vLLM's arguments for how an engine or a server launches what it computes.

    Raises:
        UserError: graphs on a CPU.
    """
    from pivot.rollout import cpu

    if cuda_graphs and cpu.on_cpu():
        raise UserError("rollout.cuda_graphs is true, and a CPU has no CUDA graphs: set it to false")
    return GRAPHS if cuda_graphs else {"enforce_eager": True}


def executor() -> str:
    """vLLM's executor: external_launcher takes the device of LOCAL_RANK; an engine alone needs no launcher.

    Raises:
        RuntimeError: several ranks without the trainer's process group.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 and not dist.is_initialized():
        raise RuntimeError(f"WORLD_SIZE is {ranks}: create the trainer's process group before the engine")
    return "external_launcher" if ranks > 1 else "uni"


def llm(
    model_path: Path,
    placement: Placement,
    *,
    dtype: str,
    max_model_len: int,
    kv_cache_bytes: int,
    share_tails: bool,
    quantization: Mapping[str, Any] | None,
    **arguments: Any,
) -> "LLM":
    """Builds the vLLM object with this project's settings; collective over the process group. See `Engine`.

    Raises:
        UserError: no checkpoint there, or vLLM refuses it with these settings.
        RuntimeError: several ranks without the trainer's process group.
    """
    if not (model_path / "config.json").is_file():
        raise UserError(f"{model_path}: no checkpoint here (config.json is missing); give a Hugging Face directory")
    arguments["distributed_executor_backend"] = executor()
    from vllm import LLM

    from pivot.rollout import cpu, transport

    transport.register()
    if cpu.on_cpu():
        cpu.apply_fixes()
        arguments |= cpu.engine_arguments(max_model_len)
    else:
        # vLLM wants so much of the device free when it starts (`v1/worker/utils.py`, `request_memory`); the policy is
        # there already, and how large the KV cache is to be `kv_cache_memory_bytes` says.
        arguments["gpu_memory_utilization"] = 0.01
    if quantization is not None:
        arguments["hf_overrides"] = {"quantization_config": dict(quantization)}
    if share_tails:
        from pivot.rollout.scheduler import scheduler

        arguments["scheduler_cls"] = scheduler(asynchronous=not cpu.on_cpu())
        if cpu.on_cpu():
            arguments["block_size"] = cpu.SMALLEST_BLOCK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of vLLM's use of torch, not of ours
        try:
            engine = LLM(
                str(model_path),
                dtype=dtype,
                max_model_len=max_model_len,
                kv_cache_memory_bytes=kv_cache_bytes,
                tensor_parallel_size=placement.tensor,
                enable_expert_parallel=placement.expert_parallel,
                weight_transfer_config={"backend": transport.BACKEND},
                use_tqdm_on_load=False,
                **SETTINGS,
                **arguments,
            )
        except ValueError as error:  # how vLLM reports settings that it cannot serve
            asked = f"max_model_len={max_model_len}, dtype={dtype}, kv_cache_bytes={kv_cache_bytes}"
            raise UserError(broken_file(model_path) or refusal(model_path, asked, error)) from error
    engine.init_weight_transfer_engine({"init_info": {}})
    return engine


def refusal(model_path: Path, asked: str, error: Exception) -> str:
    return f"{model_path}: vLLM refuses {asked}: {' '.join(str(error).split())}"


def broken_file(model_path: Path) -> str | None:
    """Which of a checkpoint's JSON files cannot be read, and where; None: all can."""
    for path in sorted(model_path.glob("*.json")):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            return f"{path}: not a JSON file ({error}); copy it from the checkpoint again"
    return None


def quantization(engine: "LLM") -> Mapping[str, Any] | None:
    """What vLLM takes its weights to be quantised with."""
    found: Mapping[str, Any] | None = engine.model_config.model_arch_config.quantization_config
    return found


def group() -> dist.ProcessGroup:
    """The ranks of this rank's replica, as vLLM has grouped them; for objects on the CPU."""
    from vllm.distributed.parallel_state import get_tp_group

    return get_tp_group().cpu_group
