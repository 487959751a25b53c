"""Work-arounds for vLLM's CPU backend, each with the file it concerns and the reason. Not used on CUDA."""

import secrets
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist

if TYPE_CHECKING:
    import torch

VERIFIED = "0.32.0"
"""The vLLM release on which tests/parity/test_swap_engine.py and test_placements.py proved the work-arounds."""

SMALLEST_BLOCK = 32
"""Tokens of the smallest KV block that the CPU's attention takes. vLLM's default is 128 there, and every sample leaves
half of its last block empty."""


def on_cpu() -> bool:
    """Whether vLLM's platform is the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def check_version(found: str) -> None:
    """Refuses a vLLM release on which the work-arounds have not been proven.

    Raises:
        RuntimeError: `found` is another release than `VERIFIED`.
    """
    if found.split("+")[0] != VERIFIED:
        raise RuntimeError(
            f"the CPU work-arounds of pivot/rollout/cpu.py were proven on vLLM {VERIFIED}, this is {found}: "
            f"install that release, or run tests/parity/test_swap_engine.py and test_placements.py on {found} and "
            "move cpu.VERIFIED"
        )


def apply_fixes() -> None:
    """Patches vLLM once for this process. Call before the engine is built; collective over the process group."""
    import vllm

    check_version(vllm.__version__)
    _repack_experts_on_reload()
    _skip_experts_of_other_ranks()
    _own_shared_memory()


def engine_arguments(max_model_len: int) -> dict[str, Any]:
    """Engine arguments that the CPU backend needs, for a context of `max_model_len` tokens.

    `v1/worker/gpu_model_runner.py` (`_bookkeeping_sync`) rewinds a seeded request's generator after a partial
    prefill with `Generator.set_offset`, which CPU generators do not have. So every prompt is prefilled whole.
    """
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(2048, max_model_len)}


def repack_tied_head(model: "torch.nn.Module") -> None:
    """Packs embeddings and heads for the CPU kernel after every reload. Call when a reload has ended.

    `model_executor/layers/vocab_parallel_embedding.py`: a head that is tied to the embedding shares its weight but
    has a packed copy of its own, made by `process_weights_after_loading`. A reload gives the head no tensor, so the
    copy keeps the old weights: every logit is wrong, without an error.
    """
    from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding

    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding):  # ParallelLMHead is one
            module.quant_method.process_weights_after_loading(module)


def _repack_experts_on_reload() -> None:
    """Packs expert weights for the CPU kernel after every reload, not only after the first load.

    `model_executor/layers/fused_moe/unquantized_fused_moe_method.py`: `_setup_kernel` calls
    `fused_experts.process_weights_after_loading` (which packs, `experts/cpu_moe.py`) only while there is no
    kernel yet.
    After a weight update the kernel reads unpacked weights as if they were packed: wrong outputs, no error.
    """
    from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod

    original = UnquantizedFusedMoEMethod._setup_kernel
    if hasattr(original, "__wrapped__"):
        return  # patched by an earlier engine of this process

    @wraps(original)
    def setup_and_pack(self: Any, layer: Any, w13: Any, w2: Any) -> None:
        reload = self.moe_kernel is not None
        original(self, layer, w13, w2)
        if reload:
            self.moe_kernel.fused_experts.process_weights_after_loading(layer)

    UnquantizedFusedMoEMethod._setup_kernel = setup_and_pack


def _skip_experts_of_other_ranks() -> None:
    """With expert parallel, a rank computes its own experts and leaves the others' share of a token at zero.

    `model_executor/layers/fused_moe/experts/cpu_moe.py`: `CPUUnquantizedExperts.apply` ignores `expert_map` and reads
    weights by an expert's number among all, beyond the end of what this rank holds: SIGSEGV, or worse, wrong numbers.
    """
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts

    original = CPUUnquantizedExperts.apply
    if hasattr(original, "__wrapped__"):
        return

    @wraps(original)
    def apply_own(self: Any, *, topk_weights: Any, topk_ids: Any, expert_map: Any, **rest: Any) -> None:
        if expert_map is not None:
            own = expert_map[topk_ids.long()].to(topk_ids.dtype)  # -1: another rank's
            topk_weights, topk_ids = topk_weights.masked_fill(own < 0, 0), own.clamp_min(0)
        original(self, topk_weights=topk_weights, topk_ids=topk_ids, expert_map=expert_map, **rest)

    CPUUnquantizedExperts.apply = apply_own


def _own_shared_memory() -> None:
    """Gives the shared memory of tensor parallel ranks a name of this run's own, and leaves no file behind.

    `v1/worker/cpu_worker.py` derives the name (VLLM_DIST_IDENT) from the distributed init method, which under
    `external_launcher` is always `env://`. `distributed/device_communicators/cpu_communicator.py`
    (`_CPUSHMDistributed`) then uses the same files in every run of a machine: two runs read each other's sums, and what
    a killed run has left makes the next one fail (`create shm in SHMManager failed. errno: 17`). The files are unlinked
    as soon as every rank has mapped them, so that a kill leaves nothing.
    """
    from vllm.distributed.device_communicators.cpu_communicator import _CPUSHMDistributed

    original_name, original_init = _CPUSHMDistributed.make_group_name, _CPUSHMDistributed._init_cpu_shm
    if hasattr(original_init, "__wrapped__"):
        return
    run = [secrets.token_hex(8)]  # not from a generator that the trainer's results depend on
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast_object_list(run, src=0)

    def own_name(communicator: Any) -> str:
        return f"{run[0]}-{original_name(communicator).replace('/', '')}"

    @wraps(original_init)
    def map_and_unlink(self: Any) -> int:
        handle = int(original_init(self))  # ends with a barrier: every rank has mapped every file
        Path(f"/dev/shm/{self.group_name}_{self.communicator.rank}").unlink()
        return handle

    _CPUSHMDistributed.make_group_name = staticmethod(own_name)
    _CPUSHMDistributed._init_cpu_shm = map_and_unlink
