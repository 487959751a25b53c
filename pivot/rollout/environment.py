"""The environment variables that vLLM and torch read when they are imported."""

import logging
import os
import sys
from pathlib import Path

# Variable -> value, each with the reason it is needed.
_ALWAYS = {
    # The engine core in this process: the trainer's tensors are handed over without being serialised.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Checkpoints are local directories; a name that is not one must fail, not wait for a network.
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}
# Without it the first request that asks for logprobs compiles for 13 to 20 s.
_ON_CPU = {"TORCH_COMPILE_DISABLE": "1"}
_UNLESS_SET = {
    # The engine reports through exceptions; its information and warning lines would drown the program's own.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TOKENIZERS_PARALLELISM": "false",
    # No plugin by entry point: the NeMo toolkit registers one that imports all of NeMo's speech code (17 s).
    "VLLM_PLUGINS": "",
}


def prepare_environment(cache_root: Path | str | None = None, *, cpu: bool | None = None) -> None:
    """Sets what torch and vLLM read at import time; calling it again is harmless.

    Args:
        cache_root: Where vLLM keeps its model inspection results (they take 12 s to rebuild); a
            `VLLM_CACHE_ROOT` that is already set wins. None leaves vLLM's default.
        cpu: Whether the engine will run on a CPU; None asks torch whether there is a CUDA device.

    Raises:
        RuntimeError: vLLM was imported before, with other settings.
    """
    for name, value in _UNLESS_SET.items():
        os.environ.setdefault(name, value)
    if cache_root is not None:
        os.environ.setdefault("VLLM_CACHE_ROOT", str(cache_root))
    # vLLM warns about Triton before it has configured its own logging.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
    if cpu is None:
        import torch

        cpu = not torch.cuda.is_available()
    wanted = _ALWAYS | (_ON_CPU if cpu else {})
    late = {name: value for name, value in wanted.items() if os.environ.get(name) != value}
    if late and "vllm" in sys.modules:
        raise RuntimeError(
            f"vllm was imported before prepare_environment(), without {', '.join(sorted(late))}: "
            "call pivot.rollout.prepare_environment() at the top of the program"
        )
    os.environ.update(late)
    if cpu and "torch._dynamo" in sys.modules:
        # TORCH_COMPILE_DISABLE is read once, when dynamo is first imported; that may have happened already.
        import torch._dynamo.config as dynamo

        dynamo.disable = True
