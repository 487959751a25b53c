"""A demo that was stopped goes on with the phase that did not end."""

from pathlib import Path

import pytest

from pivot.config import Config
from pivot.demo import run


class Stopped(Exception):
    """What a launch raises here where a real one would be killed."""


def test_finished_phases_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[str, int]] = []
    monkeypatch.setattr(run, "TRAIN_TRAJECTORIES", 2)
    monkeypatch.setattr(run, "VALIDATION_TRAJECTORIES", 1)
    monkeypatch.setattr(run, "report", lambda out: started.append(("report", 0)))

    def launch(name: str, config: Config) -> None:
        started.append((name, config.run.seed))
        if len(started) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        run.demo(tmp_path, 3, [], fresh=False, launch=launch)
    assert started == [("mine", 3), ("train", 3)]
    candidates = (tmp_path / "data/train/candidates.jsonl").stat()
    run.demo(tmp_path, 3, [], fresh=False, launch=launch)
    assert started == [("mine", 3), ("train", 3), ("train", 3), ("evaluate", 3), ("report", 0)]
    assert (tmp_path / "data/train/candidates.jsonl").stat().st_mtime_ns == candidates.st_mtime_ns
    run.demo(tmp_path, 3, [], fresh=True, launch=launch)
    assert started[5:] == [("mine", 3), ("train", 3), ("evaluate", 3), ("report", 0)]
