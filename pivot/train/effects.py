"""What the memory machine's steps do on a device, and which of the two kinds a run gets."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from pivot.policy import Policy
from pivot.policy.parking import PolicyMemory
from pivot.rollout import Engine
from pivot.train.memory import Effects, Memory, State, check_allocator


class Sleeper(Protocol):
    """What the steps need of an engine."""

    def sleep(self, level: int) -> None: ...
    def wake(self, tag: str) -> None: ...


class Resident:
    """Nothing moves: policy and engine stay side by side."""

    def optimizer_off(self) -> int:
        return 0

    def optimizer_on(self) -> int:
        return 0

    def parameters_off(self) -> int:
        return 0

    def parameters_on(self) -> int:
        return 0

    def weights_awake(self) -> int:
        return 0

    def cache_awake(self) -> int:
        return 0

    def engine_asleep(self) -> int:
        return 0


class Moving:
    """The policy's memory goes to the host and back, the engine sleeps and wakes."""

    def __init__(self, policy: PolicyMemory, engine: Sleeper, level: int, free: Callable[[], int]) -> None:
        """See the class.

        Args:
            policy: of the run.
            engine: vLLM's, started so that it can sleep.
            level: of its sleep.
            free: bytes of the device that nobody uses.
        """
        self._policy = policy
        self._engine = engine
        self._level = level
        self._free = free

    def optimizer_off(self) -> int:
        return self._policy.optimizer_off()

    def optimizer_on(self) -> int:
        return self._policy.optimizer_on()

    def parameters_off(self) -> int:
        return self._policy.parameters_off()

    def parameters_on(self) -> int:
        return self._policy.parameters_on()

    def weights_awake(self) -> int:
        return self._wake("weights")

    def cache_awake(self) -> int:
        return self._wake("kv_cache")

    def engine_asleep(self) -> int:
        before = self._free()
        self._engine.sleep(self._level)
        return self._free() - before

    def _wake(self, tag: str) -> int:
        before = self._free()
        self._engine.wake(tag)
        return before - self._free()


def start(policies: Sequence[Policy], level: int, start_engine: Callable[[bool], Engine]) -> tuple[Engine, Memory]:
    """Starts the engine beside policies that make room for it; the machine comes back in TRAINING.

    Args:
        policies: Of the run.
        level: Of the engine's sleep; 0: nothing ever moves, as on a CPU.
        start_engine: Called with whether the engine has to be able to sleep.

    Raises:
        UserError: the allocator's settings clash with an engine that sleeps.
    """
    effects: Effects = Resident()
    if level and torch.cuda.is_available():
        check_allocator()
        held = PolicyMemory(policies)
        held.optimizer_off()
        held.parameters_off()
        engine = start_engine(True)
        effects = Moving(held, engine, level, lambda: torch.cuda.mem_get_info()[0])
    else:
        engine = start_engine(False)
    memory = Memory(effects)
    memory.enter(State.TRAINING)
    return engine, memory
