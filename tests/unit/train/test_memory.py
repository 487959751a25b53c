"""The memory machine: which ways there are, in which order things move, what a failure leaves, what is logged."""

from __future__ import annotations

import ast
import importlib.util
from itertools import pairwise, product
from pathlib import Path

import pytest

from pivot.errors import UserError
from pivot.train import memory as memory_module
from pivot.train.effects import Moving, Resident
from pivot.train.memory import Memory, MemoryOrderError, State, check_allocator

ROUND = [State.TRAINING, State.SWAPPING, State.GENERATING]


SIZES = {"optimizer": 30, "parameters": 20, "weights": 20, "cache": 40}


class Recorded:
    """A device on which things of `SIZES` bytes come and go; it looks that they can."""

    def __init__(self, fail: str = "") -> None:
        self.there = {"weights", "cache"}  # where a machine begins
        self.done: list[str] = []
        self.most = 0
        self.fail = fail

    def _move(self, step: str, *, taken: tuple[str, ...] = (), given: tuple[str, ...] = ()) -> int:
        if step == self.fail:
            raise OSError("no memory")
        assert not self.there & set(taken)
        assert set(given) <= self.there
        self.there = (self.there - set(given)) | set(taken)
        self.done.append(step)
        self.most = max(self.most, sum(SIZES[name] for name in self.there))
        return sum(SIZES[name] for name in (*taken, *given))

    def optimizer_off(self) -> int:
        return self._move("optimizer_off", given=("optimizer",))

    def optimizer_on(self) -> int:
        return self._move("optimizer_on", taken=("optimizer",))

    def parameters_off(self) -> int:
        return self._move("parameters_off", given=("parameters",))

    def parameters_on(self) -> int:
        return self._move("parameters_on", taken=("parameters",))

    def weights_awake(self) -> int:
        return self._move("weights_awake", taken=("weights",))

    def cache_awake(self) -> int:
        return self._move("cache_awake", taken=("cache",))

    def engine_asleep(self) -> int:
        return self._move("engine_asleep", given=("weights", "cache"))


def go(memory: Memory, states: list[State]) -> None:
    for state in states:
        memory.enter(state)


def test_a_round_gives_up_memory_before_it_takes_any() -> None:
    effects = Recorded()
    memory = Memory(effects)
    assert memory.state is State.GENERATING
    for state in [State.TRAINING, State.SWAPPING, State.GENERATING] * 2:
        memory.enter(state)
        assert memory.state is state
    assert effects.done == [
        "engine_asleep", "parameters_on", "optimizer_on",
        "optimizer_off", "weights_awake",
        "parameters_off", "cache_awake",
    ] * 2  # fmt: skip
    assert effects.most == 60  # weights and cache; everything at once would be 110


def test_what_is_where_in_each_state() -> None:
    effects = Recorded()
    memory = Memory(effects)
    found = {}
    for state in ROUND:
        memory.enter(state)
        found[state] = set(effects.there)
    assert found == {
        State.TRAINING: {"parameters", "optimizer"},
        State.SWAPPING: {"parameters", "weights"},
        State.GENERATING: {"weights", "cache"},
    }


LEGAL = {*pairwise([*ROUND, ROUND[0]])}


@pytest.mark.parametrize(("here", "there"), [pair for pair in product(ROUND, State) if pair not in LEGAL], ids=str)
def test_other_ways_are_refused_and_do_nothing(here: State, there: State) -> None:
    effects = Recorded()
    memory = Memory(effects)
    for state in ROUND:
        if memory.state is here:
            break
        memory.enter(state)
    done = list(effects.done)
    with pytest.raises(MemoryOrderError) as caught:
        memory.enter(there)
    (following,) = (after for before, after in LEGAL if before is here)
    assert str(caught.value) == (
        f"memory cannot become {there.value} while it is {here.value}: {following.value} comes next"
    )
    assert (memory.state, effects.done) == (here, done)


@pytest.mark.parametrize("step", ["engine_asleep", "parameters_on", "optimizer_on", "weights_awake", "cache_awake"])
def test_a_failure_in_the_middle_breaks_the_machine_for_good(step: str) -> None:
    effects = Recorded(fail=step)
    memory = Memory(effects)
    with pytest.raises(OSError, match="no memory"):
        go(memory, ROUND)
    assert memory.state is State.BROKEN
    effects.fail = ""
    done = list(effects.done)
    for state in State:
        with pytest.raises(MemoryOrderError, match=f"{step} failed in .* -> .*, and what is where is not known"):
            memory.enter(state)
    assert effects.done == done


def test_bytes_and_seconds_of_every_step_since_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    monkeypatch.setattr(memory_module.time, "perf_counter", lambda: float(next(now)))
    memory = Memory(Recorded())
    for state in [*ROUND, State.TRAINING]:
        memory.enter(state)
    sizes = {"engine_asleep": 120, "parameters_on": 40, "optimizer_on": 60, "optimizer_off": 30, "weights_awake": 20,
             "parameters_off": 20, "cache_awake": 40}  # fmt: skip
    twice = ("engine_asleep", "parameters_on", "optimizer_on")
    assert memory.take() == {f"memory/{name}_bytes": float(size) for name, size in sizes.items()} | {
        f"memory/{name}_seconds": 2.0 if name in twice else 1.0 for name in sizes
    }
    assert memory.take() == {}


def test_a_machine_that_moves_nothing_has_the_same_ways_and_logs_nothing() -> None:
    memory = Memory(Resident())
    for state in ROUND * 2:
        memory.enter(state)
    assert memory.take() == {}
    with pytest.raises(MemoryOrderError):
        memory.enter(State.GENERATING)


class FakeEngine:
    """An engine of 12 bytes of weights and 5 of cache on a device of 50."""

    def __init__(self) -> None:
        self.free = 50 - 17
        self.calls: list[tuple[str, object]] = []

    def sleep(self, level: int) -> None:
        self.calls.append(("sleep", level))
        self.free += 17

    def wake(self, tag: str) -> None:
        self.calls.append(("wake", tag))
        self.free -= {"weights": 12, "kv_cache": 5}[tag]


class FakePolicy:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> object:
        return lambda: self.calls.append(name) or 7


@pytest.mark.parametrize("level", [1, 2])
def test_the_engine_wakes_in_two_parts(level: int) -> None:
    engine, policy = FakeEngine(), FakePolicy()
    memory = Memory(Moving(policy, engine, level, lambda: engine.free))  # type: ignore[arg-type]
    for state in ROUND:
        memory.enter(state)
    assert engine.calls == [("sleep", level), ("wake", "weights"), ("wake", "kv_cache")]
    assert policy.calls == ["parameters_on", "optimizer_on", "optimizer_off", "parameters_off"]
    taken = memory.take()
    assert [taken[f"memory/{name}_bytes"] for name in ("engine_asleep", "weights_awake", "cache_awake")] == [17, 12, 5]
    assert taken["memory/optimizer_off_bytes"] == 7


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"},
        {"PYTORCH_ALLOC_CONF": "max_split_size_mb:512, expandable_segments: true"},
        {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:1,garbage_collection_threshold:0.8"},
    ],
)
def test_expandable_segments_clash_with_a_sleeping_engine(environment: dict[str, str]) -> None:
    with pytest.raises(UserError, match=rf"{next(iter(environment))} switches expandable_segments on.*sleep_level=0"):
        check_allocator(environment)


def test_other_settings_of_the_allocator_are_the_users() -> None:
    check_allocator({})
    check_allocator({"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:False,max_split_size_mb:512"})


def source(module: str) -> ast.Module:
    """The tree of a library's file, which is not imported."""
    package, _, rest = module.partition(".")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.submodule_search_locations
    return ast.parse((Path(found.submodule_search_locations[0]) / f"{rest.replace('.', '/')}.py").read_text())


def arguments(tree: ast.Module, owner: str, method: str) -> list[str]:
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == owner)
    (function,) = (node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == method)
    return [argument.arg for argument in function.args.args][1:]


def assigned(tree: ast.Module, name: str) -> str:
    """The value that a name of the module is given, as text."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.unparse(node.value)  # type: ignore[union-attr, arg-type]
    raise AssertionError(f"{name} is not assigned")


def test_the_installed_vllm_sleeps_and_wakes_as_it_is_called() -> None:
    llm = source("vllm.entrypoints.llm")
    assert arguments(llm, "LLM", "sleep")[0] == "level"
    assert arguments(llm, "LLM", "wake_up") == ["tags"]
    assert {"weights", "kv_cache"} <= set(ast.literal_eval(assigned(source("vllm.device_allocator.__init__"),
                                                                   "DEFERRABLE_TAGS")))  # fmt: skip
    config = source("vllm.config.model")
    (model,) = (node for node in config.body if isinstance(node, ast.ClassDef) and node.name == "ModelConfig")
    fields = {node.target.id for node in model.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]
    assert "enable_sleep_mode" in fields
