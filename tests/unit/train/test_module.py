"""The training step and the memory machine: who is where when something is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pivot.attempt.running import Running, Stopped
from pivot.mine.groups import Group, Turn
from pivot.rollout import Completion, Placement, Sampling
from pivot.swap import Gathered, Manifest, SwapError
from pivot.train import module as module_module
from pivot.train import probing
from pivot.train.memory import Memory, State
from pivot.train.module import PivotModule, StepSettings, probed
from pivot.train.reuse import Reuse
from pivot.train.schedule import Schedule
from tests.unit.mine.fakes import SCORER, turns
from tests.unit.train.test_memory import Recorded

ALONE = Running(None, hang_after=None, deadline=None)
SETTINGS = StepSettings(
    seed=1, prompts=3, early_stop=False, group_size=4, validation_samples=2, sampling=Sampling(1.0, 1.0, 8),
    schedule=Schedule("constant", 1e-3, 0, 10, 0.1), kl_every=0, probe_every=2, probe_always=False, probe_sequences=2,
    probe_limits=(1e-3, 1e-3),
)  # fmt: skip


class World:
    """A policy and an engine that write down in which state they are asked, and refuse when they are away."""

    def __init__(self, running: Any = ALONE, **settings: Any) -> None:
        self.asked: list[str] = []
        self.effects = Recorded()
        self.memory = Memory(self.effects)
        self.memory.enter(State.TRAINING)
        self.served, self.weights = 0.5, 0.5
        self.step = 0
        self.version = "none"
        self.compared: list[int] = []
        manifest = Manifest({"w": (1,)}, {})
        self.module = PivotModule(
            self, None, self, self.memory, manifest, Gathered(self, manifest), SCORER, None,  # type: ignore[arg-type]
            replace(SETTINGS, **settings), Reuse([], 0, 4, SETTINGS.sampling), running,
        )  # fmt: skip
        self.placement = Placement()
        self.aborted_tokens = 0

    def note(self, what: str, *needs: str) -> None:
        assert set(needs) <= self.effects.there, f"{what} while {needs} are not all there"
        self.asked.append(f"{what}@{self.memory.state.value}")

    # the engine

    def sample(
        self,
        prompts: Sequence[list[int]],
        seeds: Sequence[int],
        n: int,
        sampling: Sampling,
        enough: Any = None,
        give_up: Any = None,
        begun: Any = None,
    ) -> Any:
        self.note("sample", "weights", "cache")
        return [[Completion((1, 2), (0.0, 0.0), f"good {i}", "stop", self.version) for i in range(n)] for _ in prompts]

    def score_and_rank(self, sequences: Sequence[list[int]]) -> list[tuple[list[float], list[int]]]:
        self.note(f"score {len(sequences)}", "weights", "cache")
        lengths = [len(sequence) - 1 for sequence in sequences]
        return [([self.served] * length, [1] * length) for length in lengths]

    def read_weights(self, shapes: Any) -> Any:
        self.note("read back", "weights")
        yield "w", torch.tensor([self.served])

    def update_weights(self, weights: Any, version: str) -> None:
        self.note(f"load {version}", "weights")
        ((_, tensor),) = weights
        self.served, self.version = float(tensor), version

    # the policy

    def hf_weights(self) -> Any:
        self.note("read", "parameters")
        yield "w", torch.tensor([self.weights])

    def logprobs(self, micro_batches: Any, **_: Any) -> list[tuple[Tensor, Tensor]]:
        self.note("expect", "parameters")
        self.compared = [len(action) for batch in micro_batches for group in batch for action in group.actions]
        return [
            (torch.full((sum(self.compared),), self.weights), torch.zeros(sum(self.compared))) for _ in micro_batches
        ]

    def train(self, *_: Any) -> dict[str, float]:
        self.note("update", "parameters", "optimizer")
        self.weights += 0.25
        return {"loss": 0.0}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a module of the test's settings, whose optimizer and loggers are stand-ins."""

    def make(**settings: Any) -> World:
        made = World(**settings)

        class Optimizer:
            def step(self, closure: Any) -> Any:
                return closure()

        monkeypatch.setattr(module_module, "update", made.train)
        monkeypatch.setattr(probing, "data_parallel_rank", lambda: 0)
        monkeypatch.setattr(probing, "data_parallel_size", lambda: 1)
        monkeypatch.setattr(PivotModule, "optimizers", lambda self: Optimizer())
        monkeypatch.setattr(PivotModule, "global_step", property(lambda self: made.step))
        monkeypatch.setattr(PivotModule, "log_dict", lambda self, values, **_: made.asked.append("log"))
        return made

    return make


def steps(made: World, count: int) -> list[str]:
    """What was asked during so many steps."""
    made.asked.clear()
    for _ in range(count):
        made.module.training_step(prompts(), 0)
        made.step += 1
    return list(made.asked)


def prompts() -> list[Turn]:
    return [replace(turn, prompt=(5, 6, 7)) for turn in turns(3)]


def test_a_step_goes_once_around(world: Any) -> None:
    made = world()
    wake = ["load 0@swapping", "read@swapping"]
    first = ["sample@generating", "update@training", "load 1@swapping", "read@swapping", "expect@swapping",
             "score 2@generating", "log"]  # fmt: skip
    second = ["sample@generating", "update@training", "load 2@swapping", "read@swapping", "log"]
    assert steps(made, 1) == wake + first
    assert steps(made, 1) == second
    assert made.memory.state is State.GENERATING
    assert made.served == made.weights == 1.0


def test_a_checkpoint_and_the_end_see_the_whole_policy_and_then_the_engine_wakes_again(world: Any) -> None:
    made = world()
    steps(made, 1)
    for hook in (lambda: made.module.on_save_checkpoint({}), made.module.on_fit_end):
        hook()
        assert made.effects.there == {"parameters", "optimizer"}
        hook()  # another one in the same place
    made.asked.clear()
    made.module.validation_step(prompts(), 0)
    assert made.asked == ["load 1@swapping", "read@swapping", "sample@generating", "log"]
    made.asked.clear()
    made.module.validation_step(prompts(), 0)
    assert made.asked == ["sample@generating", "log"]


def test_an_engine_whose_sleep_is_not_trusted_is_probed_whenever_it_wakes(world: Any) -> None:
    made = world(probe_always=True, probe_every=0)
    probes = [what for what in steps(made, 3) if what.startswith("score")]
    assert probes == ["score 2@generating"] * 4  # at the start, and after each step


def test_a_probe_that_fails_stops_the_step(world: Any) -> None:
    made = world()
    original = made.update_weights

    def forget(weights: Any, version: str) -> None:
        original(weights, version)
        made.served = 0.5  # the engine still serves the old ones

    made.module.engine.update_weights = forget
    with pytest.raises(SwapError, match=r"engine and policy disagree.*the engine holds other values .* of w$"):
        steps(made, 1)
    assert made.memory.state is State.TRAINING  # the policy was asked again


def test_a_probe_takes_the_actions_that_cost_the_least_history(world: Any) -> None:
    made = world(prompts=4)
    seen: list[list[int]] = []
    original = made.score_and_rank
    made.module.engine.score_and_rank = lambda sequences: seen.extend(sequences) or original(sequences)
    asked = [replace(turn, prompt=tuple(range(5, 5 + size))) for turn, size in zip(turns(4), (9, 3, 7, 5), strict=True)]
    made.module.training_step(asked, 0)
    assert seen == [[5, 6, 7, 1, 2], [5, 6, 7, 8, 9, 1, 2]]
    assert made.compared == [2, 2]


def test_a_probe_takes_the_longest_action_of_a_pivot() -> None:
    drawn = [Completion((1,) * size, (0.0,) * size, "", "stop", "0") for size in (1, 3, 2)]
    [one, other] = [replace(turn, prompt=(5, 6)) for turn in turns(2)]
    groups = [Group(one, tuple(drawn[:1]), ()), Group(other, tuple(drawn), ()), Group(one, (), ())]
    assert probed(groups) == [([5, 6, 1, 1, 1], 2), ([5, 6, 1], 2)]


def test_samples_of_other_weights_stop_the_step(world: Any) -> None:
    made = world()
    steps(made, 1)
    made.version = "0"
    with pytest.raises(SwapError, match="weights of version '0', the policy is at '1'"):
        steps(made, 1)
    assert "update@training" not in made.asked


def test_a_swap_that_fails_leaves_a_state_that_is_known(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    steps(made, 1)

    def broken(*_: Any) -> None:
        raise SwapError("a tensor is missing")

    monkeypatch.setattr(made.module.weights, "push", broken)
    with pytest.raises(SwapError, match="a tensor is missing"):
        steps(made, 1)
    assert made.memory.state is State.SWAPPING
    assert made.effects.there == {"parameters", "weights"}


class Asked:
    """Every rank is asked to stop after so many questions whether it is."""

    def __init__(self, after: int) -> None:
        self.left = after

    def beat(self, phase: str) -> None: ...

    def wanted(self) -> bool:
        return self.left <= 0

    def asked(self) -> str | None:
        self.left -= 1
        return "USR1" if self.left < 0 else None

    def agree(self) -> None:
        if self.asked():
            raise Stopped("USR1")


def test_a_stop_while_the_engine_samples_leaves_the_policy_as_it_was(world: Any) -> None:
    made = world(running=Asked(after=0))
    with pytest.raises(Stopped, match="stopped"):
        steps(made, 1)
    assert made.asked[-1] == "sample@generating"
    assert made.weights == 0.5
    made.module.on_save_checkpoint({})
    assert made.effects.there == {"parameters", "optimizer"}


def test_a_stop_in_the_update_ends_the_step_without_a_swap_that_nobody_needs(world: Any) -> None:
    made = world(running=Asked(after=1))
    assert steps(made, 1)[-3:] == ["sample@generating", "update@training", "log"]
    assert made.weights == 0.75
    made.module.on_save_checkpoint({})
    assert made.effects.there == {"parameters", "optimizer"}
