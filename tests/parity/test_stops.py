"""Training that is stopped in the middle of every phase and started again: the same weights to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from pivot.attempt.directory import Attempt, Outcome, make
from pivot.demo.run import CHECKPOINT
from tests.parity.launch import launch
from tests.system.stopping import STEPS, arguments, candidates, differing, metrics

WORKERS = Path(__file__).with_name("stop_workers.py")
Stop = tuple[str, int] | None


def run(recipe: str, directory: Path, given: list[str], stop: Stop = None) -> Attempt:
    """One attempt on two ranks."""
    attempt = make(directory)
    launch(
        WORKERS, "program", 2, kind="engine" if recipe == "train" else "policy", recipe=recipe,
        arguments=[f"model.path={CHECKPOINT}", *given], attempt=str(attempt.directory), stop=stop,
    )  # fmt: skip
    return attempt


def train(directory: Path, pivots: Path, stop: Stop = None, *more: str) -> Attempt:
    return run("train", directory, [*arguments(pivots, directory)[1:], *more], stop)


@pytest.fixture(scope="module")
def pivots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candidates(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(pivots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    directory = tmp_path_factory.mktemp("whole")
    train(directory, pivots)
    return directory


SHORT: list[tuple[Stop, int]] = [
    (("generation", 1), 1),
    (("update", 0), 2),  # of this attempt; the step is finished
    (("save", 3), 4),
    (("validation", 3), 4),  # what was cut off is done again
]
LONG: list[tuple[Stop, int]] = [
    (("generation", 0), 0),  # before anything could be saved
    *SHORT,
    (("generation", 4), 4),
]


@pytest.mark.parametrize(
    "stops", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.slow)]
)
def test_stops_in_every_phase_of_training_change_no_bit(
    stops: list[tuple[Stop, int]], whole: Path, pivots: Path, tmp_path: Path
) -> None:
    """A checkpoint every fourth step, in the background: most stops fall between two of them."""
    for stop, saved in stops:
        attempt = train(tmp_path, pivots, stop, "train.checkpoint_every=4")
        assert attempt.outcome() == Outcome("stopped", saved, "USR1"), stop
        names = sorted(path.name for path in (tmp_path / "checkpoints").glob("*"))
        assert names[-1:] == ([f"step-{saved:06d}"] if saved else []), stop
    assert train(tmp_path, pivots, None, "train.checkpoint_every=4").outcome() == Outcome(
        "done", STEPS, "nothing is left to do"
    )
    assert differing(tmp_path, whole) == []
    assert sorted(metrics(tmp_path)) == list(range(STEPS))
    assert metrics(tmp_path) == metrics(whole)
    assert not (tmp_path / "lock.json").exists()


def test_supervised_training_goes_on_from_any_step(tmp_path: Path) -> None:
    def sft(directory: Path, stop: Stop = None) -> Attempt:
        given = [f"run.dir={directory}", "supervised.steps=9", "supervised.tokens_per_step=512",
                 "train.checkpoint_every=4", "parallel.tensor=2", "parallel.expert=2"]  # fmt: skip
        return run("sft", directory, given, stop)

    sft(tmp_path / "whole")
    for stop, saved in ((("step end", 2), 3), (("save", 7), 8)):
        assert sft(tmp_path / "cut", stop).outcome() == Outcome("stopped", saved, "USR1")
    assert sft(tmp_path / "cut").outcome() == Outcome("done", 9, "nothing is left to do")
    assert differing(tmp_path / "cut", tmp_path / "whole") == []
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")
    assert sorted(metrics(tmp_path / "cut")) == list(range(9))
