"""Who has the device's memory: policy and engine take turns, by a small state machine.

    TRAINING    the policy with its optimizer; the engine sleeps
    SWAPPING    the policy's weights and the engine's, side by side: weights go over
    GENERATING  the engine with its weights and KV cache; the policy is away

A step of training goes once around: GENERATING (sample) -> TRAINING (update) -> SWAPPING (push) -> GENERATING. What a
transition does is `Effects`; where memory is plenty they do nothing, and the same machine runs.
"""

import os
import time
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Protocol

from pivot.errors import UserError


class State(Enum):
    """See the module; BROKEN: a transition failed in the middle."""

    TRAINING = "training"
    SWAPPING = "swapping"
    GENERATING = "generating"
    BROKEN = "broken"


class Effects(Protocol):
    """What moves memory. Every method returns the bytes of device memory that it gave up or took."""

    def optimizer_off(self) -> int:
        """Optimizer state and gradients leave the device."""

    def optimizer_on(self) -> int:
        """They come back."""

    def parameters_off(self) -> int:
        """The policy's weights leave the device."""

    def parameters_on(self) -> int:
        """They come back."""

    def weights_awake(self) -> int:
        """The engine takes memory for its weights."""

    def cache_awake(self) -> int:
        """The engine takes memory for its KV cache."""

    def engine_asleep(self) -> int:
        """The engine gives up both."""


class MemoryOrderError(RuntimeError):
    """A transition that does not exist, or one after a failed one."""


class Memory:
    """The state machine.

    Attributes:
        state: Where it is.
    """

    def __init__(self, effects: Effects) -> None:
        """A machine in GENERATING: the engine has just been started, and the policy has made room for it."""
        self.state = State.GENERATING
        self._broken = ""
        self._spent: dict[str, tuple[int, float]] = {}
        # What takes memory comes after what gives it up.
        self._ways: dict[tuple[State, State], tuple[Callable[[], int], ...]] = {
            (State.TRAINING, State.SWAPPING): (effects.optimizer_off, effects.weights_awake),
            (State.SWAPPING, State.GENERATING): (effects.parameters_off, effects.cache_awake),
            (State.GENERATING, State.TRAINING): (
                effects.engine_asleep,
                effects.parameters_on,
                effects.optimizer_on,
            ),
        }

    def enter(self, state: State) -> None:
        """Moves on to a state.

        Raises:
            MemoryOrderError: there is no way from here to it, or an earlier transition failed. Nothing was done.
        """
        if self.state is State.BROKEN:
            raise MemoryOrderError(f"memory cannot become {state.value}: {self._broken}")
        if (self.state, state) not in self._ways:
            (following,) = (after for before, after in self._ways if before is self.state)
            raise MemoryOrderError(
                f"memory cannot become {state.value} while it is {self.state.value}: {following.value} comes next"
            )
        way = f"{self.state.value} -> {state.value}"
        steps, self.state = self._ways[self.state, state], State.BROKEN
        for step in steps:
            self._broken = f"{step.__name__} failed in {way}, and what is where is not known; start again"
            self._timed(step)
        self.state = state

    def take(self) -> dict[str, float]:
        """For logs: `memory/<step>_bytes` and `memory/<step>_seconds` since the last call, of steps that moved any."""
        spent, self._spent = self._spent, {}
        moved = {name: values for name, values in spent.items() if values[0]}
        return {f"memory/{name}_bytes": float(size) for name, (size, _) in moved.items()} | {
            f"memory/{name}_seconds": seconds for name, (_, seconds) in moved.items()
        }

    def _timed(self, step: Callable[[], int]) -> None:
        start = time.perf_counter()
        moved = step()
        size, seconds = self._spent.get(step.__name__, (0, 0.0))
        self._spent[step.__name__] = size + moved, seconds + time.perf_counter() - start


def check_allocator(environment: Mapping[str, str] = os.environ) -> None:
    """Refuses torch's expandable segments beside an engine that sleeps.

    vLLM's sleep allocator maps and unmaps memory itself and cannot live with them (pytorch issue 147851): it switches
    them off around its own allocations, and switching them on again in the same process does not restore all other
    settings of the allocator (vLLM's `device_allocator/alloc_conf.py`).

    Raises:
        UserError: naming the variable.
    """
    for name in ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"):
        settings = [part.replace(" ", "").lower() for part in environment.get(name, "").split(",")]
        if {"expandable_segments:true", "expandable_segments:1"} & set(settings):
            raise UserError(
                f"{name} switches expandable_segments on, which vLLM's sleeping engine cannot live with: take it out, "
                "or keep policy and engine side by side with rollout.sleep_level=0"
            )
