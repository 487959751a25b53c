"""Megatron-core 0.16.1 on CPU over gloo, without Transformer Engine, Apex or CUDA.

This file is the only place that changes a function of Megatron or of ``torch.cuda``. Line numbers are those
of megatron-core 0.16.1. ``install()`` runs when ``pivot.policy`` is imported, hence before any module of
Megatron, and does nothing where CUDA is available. Whatever is rewritten here must exist and look as
expected, otherwise ``ContractError`` names it: an upgrade of Megatron cannot pass unnoticed.
"""

from __future__ import annotations

import importlib
import inspect
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

VERSION = "0.16.1"
CPU = torch.device("cpu")

# Functions that name CUDA in a literal: `device="cuda"` or "torch.cuda.FloatTensor". Rewriting the constants
# of their code objects costs nothing at run time; a TorchFunctionMode would cost 5 to 10 %.
LITERALS: dict[str, tuple[str, ...]] = {
    "utils": ("local_multi_tensor_l2_norm",),  # 1207
    "pipeline_parallel.schedules": (
        "forward_backward_no_pipelining",  # 596
        "forward_backward_pipelining_with_interleaving",  # 983
        "forward_backward_pipelining_without_interleaving",  # 2138
    ),
    "optimizer.optimizer": (
        "MixedPrecisionOptimizer.__init__",  # 473-485
        "Float16OptimizerWithFloat16Params.__init__",  # 671, 690
        "FP32Optimizer.__init__",  # 907
    ),
    "optimizer.distrib_optimizer": (
        "DistributedOptimizer.__init__",  # 582
        "DistributedOptimizer._build_model_and_main_param_groups",  # 361, 420
    ),
    "optimizer.clip_grads": (
        "get_grad_norm_fp32",  # 90-115
        "clip_grad_by_total_norm_fp32",  # 167-174
        "count_zeros_fp32",  # 207
    ),
    "transformer.utils": ("get_default_causal_mask",),  # 35
    "transformer.moe.moe_utils": ("track_moe_metrics",),  # 998
    "dist_checkpointing.exchange_utils": (
        "_get_empty_tensor_for_exchange",  # 98-110
        "exchange_loaded_tensors_gather_rounds",  # 326
    ),
    "dist_checkpointing.strategies.state_dict_saver": ("verify_global_md_reuse",),  # 204
}

# Functions and constants that are replaced as a whole by `_replace` below.
REPLACED: dict[str, tuple[str, ...]] = {
    "tensor_parallel.random": (
        "_get_cuda_rng_state",
        "_set_cuda_rng_state",
        "CheckpointWithoutOutput.__init__",
    ),
    "transformer.moe.token_dispatcher": ("maybe_move_tensor_to_cpu",),
    "tensor_parallel.mappings": ("_gather_along_first_dim", "_reduce_scatter_along_first_dim"),
    "optimizer": ("Adam", "USING_PYTORCH_OPTIMIZER"),
    "optimizer.distrib_optimizer": ("Adam", "HAVE_APEX_OR_TE", "USING_APEX_OPTIMIZER"),
}

_installed = False


class ContractError(RuntimeError):
    """The installed Megatron is not the one that this file was written for."""


class _Stream:
    """Stand-in for ``torch.cuda.Stream``: a class, because other libraries use it in annotations."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def wait_stream(self, other: object) -> None: ...

    def synchronize(self) -> None: ...

    def record_event(self, event: object = None) -> _Stream:
        return self


class FusedAdam(torch.optim.Optimizer):
    """AdamW that keeps ``step`` in the param group, as Apex and Transformer Engine do.

    torch's own AdamW keeps it per parameter, and the distributed optimizer then either fails to resume
    (KeyError 'step', distrib_optimizer.py:940) or silently restarts at step 0 (``dp_reshardable``).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adam_w_mode: bool = True,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._kernel = torch._fused_adamw_ if adam_w_mode else torch._fused_adam_

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every parameter that has a gradient. Megatron passes no ``closure``."""
        if closure is not None:
            raise ValueError("FusedAdam takes no closure")
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            group["step"] = group.get("step", 0) + 1
            for p in params:
                if not self.state[p]:
                    self.state[p].update(exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            self._kernel(
                params,
                [p.grad for p in params],
                [self.state[p]["exp_avg"] for p in params],
                [self.state[p]["exp_avg_sq"] for p in params],
                [],
                [torch.tensor(float(group["step"]))] * len(params),
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                amsgrad=False,
                maximize=False,
            )


def install() -> None:
    """Makes Megatron run on CPU; a no-op where CUDA is available or when it ran before.

    Raises:
        ContractError: another version of megatron-core, or a function that is rewritten here has changed.
    """
    global _installed
    if _installed or torch.cuda.is_available():
        return
    _stub_torch_cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a dozen lines saying that Apex and Transformer Engine are not there
        # jit.py:18 makes torch.compile the `jit_fuser` of every module while megatron.core is imported;
        # compiling these small functions costs tens of seconds and gains nothing on CPU.
        with mock.patch.object(torch, "compile", lambda f=None, **_: f if f is not None else (lambda g: g)):
            import megatron.core
        if megatron.core.__version__ != VERSION:
            raise ContractError(
                f"pivot/policy/cpu.py is written for megatron-core {VERSION}, not {megatron.core.__version__}"
            )
        for module in ("distributed", "models.gpt.gpt_layer_specs"):
            importlib.import_module("megatron.core." + module)
        _replace_functions()
        rewrite_literals()
        _serve_gloo()
    _installed = True


def _stub_torch_cuda() -> None:
    """The few entries of torch.cuda that Megatron calls without asking whether there is a device."""
    stream = _Stream()
    cuda: Any = torch.cuda
    cuda.current_device = lambda: CPU  # some 80 call sites, as `device=`
    cuda.current_stream = lambda *_, **__: stream  # moe/token_dispatcher.py:871
    cuda.Stream = _Stream  # moe/token_dispatcher.py:445
    cuda.synchronize = lambda *_, **__: None  # strategies/filesystem_async.py:230
    cuda.manual_seed = lambda seed: (torch.manual_seed(seed), None)[1]  # random.py:237, else a silent no-op
    cuda.get_rng_state = lambda *_, **__: torch.get_rng_state()  # random.py:235
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]  # distrib_optimizer.py:1089


def resolve(module: str, name: str) -> Any:
    """``megatron.core.<module>.<name>`` without binding it; ContractError when it does not exist."""
    obj: Any = importlib.import_module("megatron.core." + module)
    for part in name.split("."):
        try:
            obj = inspect.getattr_static(obj, part)
        except AttributeError as error:
            raise ContractError(f"megatron.core.{module}.{name} does not exist in this Megatron") from error
    return obj


def _replace(module: str, name: str, new: Any) -> Any:
    """Puts ``new`` in the place of ``megatron.core.<module>.<name>`` and returns what was there."""
    if name not in REPLACED[module]:
        raise ContractError(f"megatron.core.{module}.{name} is not listed in REPLACED")
    old = resolve(module, name)
    owner: Any = importlib.import_module("megatron.core." + module)
    *path, last = name.split(".")
    for part in path:
        owner = inspect.getattr_static(owner, part)
    setattr(owner, last, new)
    return old


def _on_cpu(value: Any) -> Any:
    """The constant ``value`` of a code object with every mention of CUDA turned into CPU."""
    if isinstance(value, str):
        return "cpu" if value == "cuda" else value.replace("torch.cuda.", "torch.")
    if isinstance(value, tuple):
        return tuple(map(_on_cpu, value))
    if isinstance(value, types.CodeType):
        return value.replace(co_consts=_on_cpu(value.co_consts))
    return value


def rewrite_literals() -> None:
    """Rewrites the CUDA literals of every function in ``LITERALS``.

    Raises:
        ContractError: a function is gone, or has no such literal (any more): Megatron changed, or was
            rewritten.
    """
    for module, names in LITERALS.items():
        for name in names:
            obj = resolve(module, name)
            function = inspect.unwrap(getattr(obj, "__func__", obj))
            code = _on_cpu(function.__code__)
            if code == function.__code__:
                raise ContractError(f"no CUDA literal in megatron.core.{module}.{name}")
            function.__code__ = code


def _replace_functions() -> None:
    import megatron.core.transformer.moe.moe_utils as moe_utils

    # random.py:55, 77: they ask the CUDA generator; the setter would be a silent no-op
    _replace("tensor_parallel.random", "_get_cuda_rng_state", lambda *_, **__: torch.get_rng_state())
    _replace("tensor_parallel.random", "_set_cuda_rng_state", lambda state, *_, **__: torch.set_rng_state(state))

    # random.py:636: `fp8 is not None` is true for the False that every caller passes
    def init(self: Any, fp8: object = None) -> None:
        old_init(self, fp8 or None)

    old_init = _replace("tensor_parallel.random", "CheckpointWithoutOutput.__init__", init)

    # moe_utils.py:1192 reads the name, which is bound only when Transformer Engine is there
    if "te_general_gemm" not in inspect.getsource(moe_utils):
        raise ContractError("megatron.core.transformer.moe.moe_utils does not use te_general_gemm any more")
    moe_utils.te_general_gemm = None

    # moe_utils.py:1094: split sizes become numpy only when they came from CUDA
    def move(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        if as_numpy and torch.is_tensor(tensor):
            return tensor.cpu().numpy()
        return old_move(tensor, as_numpy, record_stream)

    old_move = _replace("transformer.moe.token_dispatcher", "maybe_move_tensor_to_cpu", move)

    _replace("optimizer", "Adam", FusedAdam)
    _replace("optimizer", "USING_PYTORCH_OPTIMIZER", False)
    _replace("optimizer.distrib_optimizer", "Adam", FusedAdam)
    _replace("optimizer.distrib_optimizer", "HAVE_APEX_OR_TE", True)
    _replace("optimizer.distrib_optimizer", "USING_APEX_OPTIMIZER", True)


def _serve_gloo() -> None:
    """Two things that gloo lacks; each is needed by one kind of layout only."""
    batch = dist.batch_isend_irecv

    def batch_isend_irecv(ops: list[Any]) -> Any:
        # interleaved schedule with two stages: previous and next stage are one peer, gloo matches by order,
        # and the peer's first send is for our *next* receive
        receives = [i for i, op in enumerate(ops) if op.op is dist.irecv]
        if len(receives) == 2 and ops[receives[0]].peer == ops[receives[1]].peer:
            ops = list(ops)
            ops[receives[0]], ops[receives[1]] = ops[receives[1]], ops[receives[0]]
        return batch(ops)

    dist.batch_isend_irecv = batch_isend_irecv  # type: ignore[assignment]

    # mappings.py:150, 193: gloo refuses uneven all_gather and reduce_scatter (expert tensor with expert
    # parallel)
    def gather(x: Any, group: Any, sizes: Any = None, use_global_buffer: bool = False) -> Any:
        if sizes is None or group.size() == 1:
            return old_gather(x, group, sizes, use_global_buffer)
        out = x.new_empty((sum(sizes), *x.shape[1:]))
        n = group.size()
        dist.all_to_all_single(out, torch.cat([x] * n), list(sizes), [x.size(0)] * n, group=group)
        return out

    def reduce_scatter(x: Any, group: Any, sizes: Any = None, use_global_buffer: bool = False) -> Any:
        if sizes is None or group.size() == 1:
            return old_scatter(x, group, sizes, use_global_buffer)
        n, mine = group.size(), sizes[group.rank()]
        out = x.new_empty((n * mine, *x.shape[1:]))
        dist.all_to_all_single(out, x.contiguous(), [mine] * n, list(sizes), group=group)
        return out.view(n, mine, *x.shape[1:]).sum(0)

    old_gather = _replace("tensor_parallel.mappings", "_gather_along_first_dim", gather)
    old_scatter = _replace("tensor_parallel.mappings", "_reduce_scatter_along_first_dim", reduce_scatter)
