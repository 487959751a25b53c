"""Keeps the engine's hands off the trainer it shares a process with.

vLLM 0.32.0, in process, reseeds and consumes the global random generators, replaces `torch.set_num_threads`
by a no-op (`v1/worker/cpu_worker.py`), rewrites LOCAL_WORLD_SIZE and LD_PRELOAD (`platforms/cpu.py`) and
destroys the default process group when it shuts down (`v1/engine/core.py`). Two things stay: `gc.freeze()`
of what lived when it started, and on CPU the binding of later memory allocations to its NUMA node.
"""

import gc
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy
import torch


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restores the Python, NumPy and torch (CPU and current CUDA devices) generators on the way out."""
    python, array, cpu = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(array)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def process_kept() -> Iterator[None]:
    """`random_state_kept`, and the environment, thread count, CPU affinity and matmul precision as they were.

    Variables named VLLM_* stay as the engine set them: it reads them again while it runs.
    """
    environment = dict(os.environ)
    set_num_threads, threads = torch.set_num_threads, torch.get_num_threads()
    affinity, precision = os.sched_getaffinity(0), torch.get_float32_matmul_precision()
    try:
        with random_state_kept():
            yield
    finally:
        for name in set(os.environ) | set(environment):
            if name.startswith("VLLM_"):
                continue
            if name in environment:
                os.environ[name] = environment[name]
            else:
                del os.environ[name]
        torch.set_num_threads = set_num_threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        os.sched_setaffinity(0, affinity)
        torch.set_float32_matmul_precision(precision)


@contextmanager
def groups_kept(*, engine_groups: bool) -> Iterator[None]:
    """While it lasts, an engine that shuts down leaves the default process group alone.

    Args:
        engine_groups: Whether vLLM's own groups stay too, because another engine of this process uses them.
    """
    from vllm.distributed import parallel_state
    from vllm.v1.engine import core

    def clean_up(shutdown_ray: bool = False) -> None:
        if not engine_groups:
            parallel_state.destroy_model_parallel()
            if parallel_state._WORLD is not None:
                parallel_state._WORLD.destroy()
            parallel_state._WORLD = None
            parallel_state._NODE_COUNT = None
        gc.collect()

    original = core.cleanup_dist_env_and_memory
    core.cleanup_dist_env_and_memory = clean_up
    try:
        yield
    finally:
        core.cleanup_dist_env_and_memory = original
