"""A policy's memory given up for a while and taken back: contents wait in host memory.

Storages are emptied and filled again *in place*: every tensor, view, optimizer entry and Megatron buffer stays the
object it is, and nothing is rebound. (Megatron's own `MegatronOptimizer.offload_to_cpu` rebinds every tensor at each
turn, which fragments the device's memory until a run dies of it after tens of steps.) The host copies are made once and
used again. A tensor whose storage is away must not be touched; who calls what when is `pivot.train.memory`'s business.

On CUDA host memory is pinned and copies run on the current stream; on other devices the same code moves bytes between
storages, which is how it is tested. It has not run on CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, UntypedStorage

from pivot.policy.policy import Policy
from pivot.policy.storages import total_bytes


class Parked:
    """Storages whose device memory can be away.

    Attributes:
        away: whether it is.
    """

    def __init__(self, *, contents: bool = True) -> None:
        """See the class; without ``contents`` nothing is copied, and the storages come back full of zeros."""
        self.away = False
        self._contents = contents
        self._sizes: list[tuple[UntypedStorage, int]] = []
        self._host: dict[int, Tensor] = {}  # by the identity of a storage, which is alive as long as its entry

    def off(self, storages: Sequence[UntypedStorage]) -> int:
        """Gives up their device memory; returns its size in bytes.

        Raises:
            RuntimeError: it is away already.
        """
        if self.away:
            raise RuntimeError("this memory is away already")
        self._sizes = [(storage, storage.nbytes()) for storage in storages]
        if self._contents:
            kept = {storage._cdata for storage in storages}
            self._host = {key: copy for key, copy in self._host.items() if key in kept}
            for storage in storages:
                self._copy(storage).copy_(_bytes(storage), non_blocking=True)
        _synchronize()
        for storage in storages:
            storage.resize_(0)
        self.away = True
        _release()
        return sum(size for _, size in self._sizes)

    def on(self) -> int:
        """Takes the memory back, with what was in it; returns its size in bytes.

        Raises:
            RuntimeError: it is not away.
        """
        if not self.away:
            raise RuntimeError("this memory is not away")
        for storage, size in self._sizes:
            storage.resize_(size)
            if self._contents:
                _bytes(storage).copy_(self._host[storage._cdata], non_blocking=True)
            else:
                _bytes(storage).zero_()
        _synchronize()
        self.away = False
        return total_bytes([storage for storage, _ in self._sizes])

    def _copy(self, storage: UntypedStorage) -> Tensor:
        """The host memory of a storage."""
        held = self._host.get(storage._cdata)
        if held is None or held.numel() != storage.nbytes():
            held = torch.empty(storage.nbytes(), dtype=torch.uint8, pin_memory=storage.device.type == "cuda")
            self._host[storage._cdata] = held
        return held


class PolicyMemory:
    """The memory of the policies of a run: one that is trained, and perhaps its frozen reference."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._parameters, self._optimizer, self._gradients = Parked(), Parked(), Parked(contents=False)

    def optimizer_off(self) -> int:
        """Optimizer state to host memory, gradients to nowhere; returns bytes given up."""
        for policy in self._policies:
            policy.drop_gradients()
        found = [policy.storages() for policy in self._policies]
        size = self._gradients.off([storage for each in found for storage in each.gradients])
        return size + self._optimizer.off([storage for each in found for storage in each.optimizer])

    def optimizer_on(self) -> int:
        """Optimizer state back, gradients zero; returns bytes taken."""
        return self._optimizer.on() + self._gradients.on()

    def parameters_off(self) -> int:
        """Weights to host memory; returns bytes given up."""
        return self._parameters.off([storage for policy in self._policies for storage in policy.storages().parameters])

    def parameters_on(self) -> int:
        """Weights back; returns bytes taken."""
        return self._parameters.on()


def _bytes(storage: UntypedStorage) -> Tensor:
    """All of a storage as uint8."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _synchronize() -> None:
    """Waits for copies in flight: memory that is still read must not be given to others."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _release() -> None:
    """Hands freed memory back to the device: the engine's allocator is not torch's caching one."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
