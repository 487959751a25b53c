"""Megatron-core on CPU over gloo, without Transformer Engine, Apex or CUDA.

This file is the only place that changes a function of Megatron or of ``torch.cuda``; ``patches.py`` lists what, where
and why for each release. ``install()`` runs when ``pivot.policy`` is imported, hence before any module of Megatron, and
does nothing where CUDA is available. Whatever is changed here must exist and look as expected, otherwise
``ContractError`` names it: an upgrade of Megatron cannot pass unnoticed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist

from pivot.policy.patches import LITERALS, RELEASES, REPLACED, STUBS, TRITON, UNBOUND, ContractError, Patch

CPU = torch.device("cpu")

_installed = False


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
    (KeyError 'step' in ``_set_main_param_and_optimizer_states``) or silently restarts at step 0 (``dp_reshardable``).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        adam_w_mode: bool = True,
        capturable: bool = False,
    ) -> None:
        if capturable:
            raise ValueError("FusedAdam is for the CPU, which has no graphs to capture")
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
        ContractError: an unknown release of megatron-core, or what is changed here looks different in it.
    """
    global _installed
    if _installed or torch.cuda.is_available():
        return
    _stub_torch_cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a dozen lines saying that Apex and Transformer Engine are not there
        # jit.py:21 makes torch.compile the `jit_fuser` of every module while megatron.core is imported;
        # compiling these small functions costs tens of seconds and gains nothing on CPU.
        with (
            mock.patch.object(torch, "compile", lambda f=None, **_: f if f is not None else (lambda g: g)),
            _no_triton(),
        ):
            import megatron.core
        release = known(megatron.core.__version__)
        for module in ("distributed", "models.gpt.gpt_layer_specs"):
            importlib.import_module("megatron.core." + module)
        replace_names(release)
        rewrite_literals(release)
        _order_receives()
    _installed = True


def known(release: str) -> str:
    """``release``, when it is in the table; otherwise ContractError says how to get one that is."""
    if release not in RELEASES:
        raise ContractError(
            f"pivot/policy/patches.py knows megatron-core {' and '.join(RELEASES)}, not {release}: pip install "
            f"megatron-core=={RELEASES[0]} (Python 3.11) or megatron-core=={RELEASES[-1]} (Python 3.12), or add "
            "its lines to that table (tests/parity/test_contract.py says which are wrong)"
        )
    return release


@contextlib.contextmanager
def _no_triton() -> Iterator[None]:
    """Where Triton is not installed, modules of its kernels are empty while Megatron is imported.

    Only the names that Megatron imports from them are there: another one is an ImportError.
    """
    names = [patch.module for patch in TRITON] if importlib.util.find_spec("triton") is None else []
    for name in names:
        module: Any = types.ModuleType(name)
        module.GLOBAL_BLOCK_SIZE = module.paged_stash_copy_kernel = module.paged_stash_pop_kernel = None
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def _stub_torch_cuda() -> None:
    """The few entries of torch.cuda, and a method of tensors, that Megatron calls without asking for a device."""
    stream = _Stream()
    stubs: dict[str, Any] = {
        "current_device": lambda: CPU,
        "current_stream": lambda *_, **__: stream,
        "Stream": _Stream,
        "synchronize": lambda *_, **__: None,
        "manual_seed": lambda seed: (torch.manual_seed(seed), None)[1],
        "get_rng_state": lambda *_, **__: torch.get_rng_state(),
        "Tensor.cuda": lambda self, *_, **__: self,
    }
    for patch in STUBS:
        owner = torch.Tensor if patch.name.startswith("Tensor.") else torch.cuda
        setattr(owner, patch.name.removeprefix("Tensor."), stubs[patch.name])


def owner_of(patch: Patch) -> tuple[Any, str]:
    """The module or class that holds the name of ``patch``, and the name in it.

    Raises:
        ContractError: it does not exist, or needs no patch any more.
    """
    owner: Any = importlib.import_module(patch.module)
    if patch.text not in inspect.getsource(owner):
        raise ContractError(f"{patch}: {patch.text!r} is not there any more")
    *path, last = patch.name.split(".")
    for part in path:
        owner = _member(owner, part, patch)
    return owner, last


def _member(owner: Any, name: str, patch: Patch) -> Any:
    """Without binding it."""
    try:
        return inspect.getattr_static(owner, name)
    except AttributeError as error:
        raise ContractError(f"{patch} does not exist in this Megatron") from error


def _on_cpu(value: Any) -> Any:
    """The constant ``value`` of a code object with every mention of CUDA turned into CPU."""
    if isinstance(value, str):
        return "cpu" if value == "cuda" else value.replace("torch.cuda.", "torch.")
    if isinstance(value, tuple):
        return tuple(map(_on_cpu, value))
    if isinstance(value, types.CodeType):
        return value.replace(co_consts=_on_cpu(value.co_consts))
    return value


def rewrite_literals(release: str) -> None:
    """Rewrites the CUDA literals of every function in ``LITERALS`` that ``release`` has.

    In the constants of their code objects, which costs nothing at run time; a TorchFunctionMode would cost 5 to 10 %.

    Raises:
        ContractError: a function is gone, or has no such literal (any more): Megatron changed, or was
            rewritten.
    """
    for patch in (patch for patch in LITERALS if release in patch.lines):
        owner, name = owner_of(patch)
        found = _member(owner, name, patch)
        function = inspect.unwrap(getattr(found, "__func__", found))
        code = _on_cpu(function.__code__)
        if code == function.__code__:
            raise ContractError(f"{patch} has no CUDA literal")
        function.__code__ = code


def replace_names(release: str) -> None:
    """Replaces what ``REPLACED`` and ``UNBOUND`` list for ``release``.

    Raises:
        ContractError: something is gone, or needs no replacement (any more).
    """
    for patch in (patch for patch in REPLACED if release in patch.lines):
        owner, name = owner_of(patch)
        setattr(owner, name, REPLACEMENTS[patch.name](_member(owner, name, patch)))
    for patch in (patch for patch in UNBOUND if release in patch.lines):
        setattr(*owner_of(patch), None)


def _numpy_sizes(old: Any) -> Any:
    def move(tensor: Any, as_numpy: bool = False, record_stream: bool = False) -> Any:
        if as_numpy and torch.is_tensor(tensor):
            return tensor.cpu().numpy()
        return old(tensor, as_numpy, record_stream)

    return move


def _uneven_gather(old: Any) -> Any:
    def gather(x: Any, group: Any, sizes: Any = None, use_global_buffer: bool = False) -> Any:
        if sizes is None or group.size() == 1:
            return old(x, group, sizes, use_global_buffer)
        out = x.new_empty((sum(sizes), *x.shape[1:]))
        n = group.size()
        dist.all_to_all_single(out, torch.cat([x] * n), list(sizes), [x.size(0)] * n, group=group)
        return out

    return gather


def _uneven_reduce_scatter(old: Any) -> Any:
    def reduce_scatter(x: Any, group: Any, sizes: Any = None, use_global_buffer: bool = False) -> Any:
        if sizes is None or group.size() == 1:
            return old(x, group, sizes, use_global_buffer)
        n, mine = group.size(), sizes[group.rank()]
        out = x.new_empty((n * mine, *x.shape[1:]))
        dist.all_to_all_single(out, x.contiguous(), [mine] * n, list(sizes), group=group)
        return out.view(n, mine, *x.shape[1:]).sum(0)

    return reduce_scatter


# The name of a row in `REPLACED` -> from what is there to what takes its place.
REPLACEMENTS: dict[str, Callable[[Any], Any]] = {
    "_get_cuda_rng_state": lambda _: lambda *_, **__: torch.get_rng_state(),
    "_set_cuda_rng_state": lambda _: lambda state, *_, **__: torch.set_rng_state(state),
    "maybe_move_tensor_to_cpu": _numpy_sizes,
    "_gather_along_first_dim": _uneven_gather,
    "_reduce_scatter_along_first_dim": _uneven_reduce_scatter,
    "Adam": lambda _: FusedAdam,
    "USING_PYTORCH_OPTIMIZER": lambda _: False,
    "HAVE_APEX_OR_TE": lambda _: True,
    "USING_APEX_OPTIMIZER": lambda _: True,
}


def _order_receives() -> None:
    """Makes torch's batched sends and receives work over gloo in the interleaved schedule with two stages.

    Previous and next stage are one peer there, gloo matches by order, and the peer's first send is for our *next*
    receive.
    """
    batch = dist.batch_isend_irecv

    def batch_isend_irecv(ops: list[Any]) -> Any:
        receives = [i for i, op in enumerate(ops) if op.op is dist.irecv]
        if len(receives) == 2 and ops[receives[0]].peer == ops[receives[1]].peer:
            ops = list(ops)
            ops[receives[0]], ops[receives[1]] = ops[receives[1]], ops[receives[0]]
        return batch(ops)

    dist.batch_isend_irecv = batch_isend_irecv  # type: ignore[assignment]
