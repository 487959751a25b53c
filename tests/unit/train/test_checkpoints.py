"""Which checkpoints are written, kept, skipped and cleaned away; what is in them is `tests/parity`'s."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.attempt.running import Stopped
from pivot.config import Config, TrainSection, check
from pivot.errors import UserError
from pivot.policy import CheckpointError, verify
from pivot.policy.checkpoint import FORMAT, MANIFEST, file_entry, seal
from pivot.policy.checkpoint_write import delete, sweep
from pivot.train.callbacks import Checkpoints
from pivot.train.retention import best_step, complete, newest, resume_point, write_score

FILES = {"model/__0_0.distcp": bytes(range(256)) * 8, "model/.metadata": b"what is where", "rng/00000.pt": b"state"}


def write(directory: Path, step: int) -> Path:
    """A whole checkpoint, as far as files go."""
    path = directory / f"step-{step:06d}"
    for name, content in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content + str(step).encode())
    files = {name: file_entry(path / name) for name in FILES}
    content = {"format": FORMAT, "world": 1, "layout": {"tensor": 1}, "extra": {"step": step}, "files": files}
    (path / MANIFEST).write_text(json.dumps(seal(content), indent=1))
    return path


def steps(directory: Path) -> list[int]:
    return [int(path.name[5:]) for path in complete(directory)]


def flip(file: Path, position: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def rewrite(path: Path, **changes: Any) -> None:
    """A manifest that says something else, with a hash that fits."""
    content = json.loads((path / MANIFEST).read_text())
    del content["sha256"]
    (path / MANIFEST).write_text(json.dumps(seal(content | changes)))


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


SHARD = "model/__0_0.distcp"
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated file": (lambda path: (path / SHARD).write_bytes(b"short"), "has 5 bytes, not 2050"),
    "longer file": (lambda path: (path / SHARD).write_bytes(bytes(2051)), "has 2051 bytes, not 2050"),
    "empty file": (lambda path: (path / "rng/00000.pt").write_bytes(b""), "rng/00000.pt has 0 bytes, not 7"),
    "flipped byte": (lambda path: flip(path / SHARD, 1000), f"{SHARD} does not match its hash"),
    "last byte flipped": (lambda path: flip(path / "model/.metadata"), ".metadata does not match its hash"),
    "missing file": (lambda path: (path / "rng/00000.pt").unlink(), "rng/00000.pt is missing"),
    "missing folder": (lambda path: shutil.rmtree(path / "model"), "is missing"),
    "folder in a file's place": (lambda path: replace_by_directory(path / SHARD), "damaged"),
    "missing manifest": (lambda path: (path / MANIFEST).unlink(), f"{MANIFEST} does not exist"),
    "truncated manifest": (lambda path: (path / MANIFEST).write_text('{"format": 2, "fil'), "damaged"),
    "empty manifest": (lambda path: (path / MANIFEST).write_text(""), "damaged"),
    "binary manifest": (lambda path: (path / MANIFEST).write_bytes(b"\xff\xfe\x00"), "damaged"),
    "manifest without a mapping": (lambda path: (path / MANIFEST).write_text("[1]"), "holds no mapping"),
    "manifest of an older format": (lambda path: rewrite(path, format=1), "has checkpoint format 1, not 2"),
    "manifest with a part too many": (lambda path: rewrite(path, more=1), "does not match its own hash"),
    "folder in the manifest's place": (lambda path: replace_by_directory(path / MANIFEST), "can't be read"),
    "empty directory": (empty, f"{MANIFEST} does not exist"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_skipped_for_the_one_before_it(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path, 10)
    damage, reason = DAMAGES[kind]
    damage(write(tmp_path, 20))
    assert newest(tmp_path) == good
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"skipping a damaged checkpoint: {tmp_path}/step-000020")
    assert reason in line
    assert steps(tmp_path) == [10, 20]  # looking changes nothing


def test_whatever_byte_of_the_manifest_changes_it_is_noticed_or_says_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    content, said = (path / MANIFEST).read_bytes(), verify(path)
    noticed = 0
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        (path / MANIFEST).write_bytes(changed)
        try:
            assert verify(path, hashes=False) == said
        except CheckpointError:
            noticed += 1
    assert noticed > 0.9 * len(content)  # white space may turn into other white space


def test_leftovers_of_killed_saves_are_no_checkpoints_and_are_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write(tmp_path, 10)
    for name in ("step-000020.tmp-writing", "step-000010.tmp-old", "step-000005.tmp-gone"):
        shutil.copytree(good, tmp_path / name)
    (tmp_path / "step-000030.0a1b.tmp-writing").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert newest(tmp_path) == good
    assert len(list(tmp_path.iterdir())) == 6
    assert resume_point(tmp_path) == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step-000010"]
    assert capsys.readouterr().out.splitlines() == [
        f"removed what a killed save had left: {name}"
        for name in (
            "step-000005.tmp-gone",
            "step-000010.tmp-old",
            "step-000020.tmp-writing",
            "step-000030.0a1b.tmp-writing",
        )
    ]


def test_a_kill_between_two_renames_gives_the_replaced_checkpoint_its_name_back(tmp_path: Path) -> None:
    path = write(tmp_path, 10)
    path.rename(path.with_name("step-000010.tmp-old"))
    shutil.copytree(path.with_name("step-000010.tmp-old"), path.with_name("step-000010.tmp-writing"))
    assert sweep(tmp_path) == ["step-000010.tmp-old", "step-000010.tmp-writing"]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]
    verify(path)


def test_damaged_checkpoints_that_are_newer_are_set_aside_before_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, 5)
    good = write(tmp_path, 10)
    for step in (20, 30):
        flip(write(tmp_path, step) / SHARD)
    write(tmp_path, 20).rename(tmp_path / "step-000020.damaged")  # of an earlier attempt
    flip(write(tmp_path, 20) / SHARD)
    assert resume_point(tmp_path) == good
    assert steps(tmp_path) == [5, 10]
    assert (tmp_path / "step-000030.damaged").is_dir()
    with pytest.raises(CheckpointError, match="does not match"):
        verify(tmp_path / "step-000020.damaged")
    assert capsys.readouterr().out.count("set aside as step-0000") == 2


def test_nothing_whole_means_training_from_the_beginning_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume_point(tmp_path / "absent") is None
    assert capsys.readouterr().out == ""
    empty(write(tmp_path, 10))
    assert resume_point(tmp_path) is None
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"no checkpoint in {tmp_path} is whole: training starts at the beginning"
    )


def test_steps_are_ordered_by_number(tmp_path: Path) -> None:
    for step in (1_000_000, 999_999, 20):
        write(tmp_path, step)
    (tmp_path / "step-000030").write_text("a file")
    assert steps(tmp_path) == [20, 999_999, 1_000_000]
    assert newest(tmp_path) == tmp_path / "step-1000000"


def test_a_checkpoint_that_is_half_deleted_has_lost_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, 10)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    delete(path)
    assert steps(tmp_path) == []
    monkeypatch.undo()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


@dataclass
class Policy:
    """Writes at once; in the background a save is whole only after `lag` looks."""

    lag: int = 0
    error: str | None = None
    log: list[str] = field(default_factory=list)
    running: Path | None = None
    looks: int = 0

    def save(self, path: Path) -> None:
        assert self.running is None, "a save was started while another was running"
        self.running, self.looks = path, 0
        self.log.append(f"save {path.name[5:].lstrip('0')}")

    def finish_save(self, *, wait: bool = True) -> bool:
        if self.running is None:
            return True
        self.looks += 1
        if not wait and self.looks <= self.lag:
            return False
        if self.error:
            raise CheckpointError(self.error)
        if wait:
            self.log.append("waited")
        write(self.running.parent, int(self.running.name[5:]))
        self.running = None
        return True

    def drain_save(self, seconds: float) -> None:
        self.log.append(f"drained {seconds:g}")

    def random_state(self) -> bytes:
        return b""


class Loop:
    """Without a state."""

    def state_dict(self) -> dict[str, Any]:
        return {}


@dataclass
class Trainer:
    """As much of Lightning's as the callback sees."""

    policy: Policy
    global_step: int = 0
    is_global_zero: bool = True
    callback_metrics: dict[str, torch.Tensor] = field(default_factory=dict)
    fit_loop = validate_loop = test_loop = predict_loop = Loop()
    callbacks: tuple[Any, ...] = ()
    current_epoch: int = 0
    written: list[Any] = field(default_factory=list)

    def save_checkpoint(self, path: Path, storage_options: Any = None) -> None:
        self.written.append(storage_options)
        self.policy.save(path)


def train(
    callback: Checkpoints,
    trainer: Trainer,
    scores: dict[int, float],
    *,
    last: int,
    name: str = "validation/reward_mean",
) -> None:
    """Steps up to `last`; a step in `scores` logs it, and validates after the batch as Lightning does."""
    while trainer.global_step < last:
        trainer.global_step += 1
        validates = name.startswith("validation/")
        if trainer.global_step in scores and not validates:
            trainer.callback_metrics[name] = torch.tensor(scores[trainer.global_step])
        callback.on_train_batch_end(trainer)
        if trainer.global_step in scores and validates:
            trainer.callback_metrics[name] = torch.tensor(scores[trainer.global_step])
            callback.on_validation_end(trainer)


def callback(directory: Path, policy: Policy, **options: Any) -> Checkpoints:
    return Checkpoints(directory, policy, **({"every": 2, "keep": 2, "best": None, "last": 9} | options))


@pytest.mark.parametrize(
    ("best", "scores", "kept"),
    [
        (None, {2: 0.9, 4: 0.1}, [8, 9]),
        ("validation/reward_mean", {}, [8, 9]),  # nothing validates
        ("validation/reward_mean", {2: 0.5, 4: 0.75, 6: 0.25, 8: 0.5}, [4, 8, 9]),
        ("validation/reward_mean", {2: 0.75, 4: 0.75, 6: 0.25}, [4, 8, 9]),  # of equal ones the newest
        ("validation/reward_mean", {2: 0.5, 4: float("nan"), 6: 0.25}, [2, 8, 9]),
        ("validation/reward_mean", {2: 0.5, 8: 0.75}, [8, 9]),
        ("validation/reward_mean", {3: 0.9, 4: 0.25}, [4, 8, 9]),  # step 3 has no checkpoint
        ("validation/reward_mean", {3: 0.9}, [8, 9]),
        ("-validation/loss", {2: 0.5, 4: 0.25, 6: 0.75}, [4, 8, 9]),
        ("-loss", {step: abs(step - 4.5) for step in range(1, 10)}, [4, 8, 9]),
        ("loss", {step: abs(step - 4.5) for step in range(1, 10)}, [8, 9]),
    ],
)
def test_the_newest_and_the_best_are_kept(
    best: str | None, scores: dict[int, float], kept: list[int], tmp_path: Path
) -> None:
    policy = Policy()
    trainer = Trainer(policy)
    this = callback(tmp_path, policy, best=best)
    train(this, trainer, scores, last=9, name=(best or "validation/reward_mean").removeprefix("-"))
    this.on_train_end(trainer)
    assert steps(tmp_path) == kept
    assert [line for line in policy.log if line != "waited"] == ["save 2", "save 4", "save 6", "save 8", "save 9"]


def test_the_best_outlives_a_restart_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = Policy()
    options = {"best": "validation/reward_mean", "keep": 1}
    train(callback(tmp_path, policy, **options), Trainer(policy), {2: 0.5, 4: 0.25}, last=4)
    assert steps(tmp_path) == [2, 4]
    train(callback(tmp_path, policy, **options), Trainer(policy, global_step=4), {6: 0.125, 8: 0.75}, last=8)
    assert steps(tmp_path) == [2, 8]
    assert capsys.readouterr().out.splitlines() == [
        "  best so far by validation/reward_mean: 0.5000 at step 2",
        "  best so far by validation/reward_mean: 0.7500 at step 8",
    ]
    trainer = Trainer(policy, global_step=8)
    this = callback(tmp_path, policy, **options, last=9)
    train(this, trainer, {}, last=9)
    this.on_train_end(trainer)
    assert steps(tmp_path) == [8, 9]
    assert best_step(tmp_path, "validation/reward_mean") == 8


def test_a_step_that_is_saved_anew_loses_its_old_score(tmp_path: Path) -> None:
    policy = Policy()
    options = {"best": "validation/reward_mean", "keep": 1}
    train(callback(tmp_path, policy, **options), Trainer(policy), {2: 0.25, 4: 0.75}, last=4)
    train(callback(tmp_path, policy, **options), Trainer(policy, global_step=2), {}, last=8)
    assert steps(tmp_path) == [2, 8]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"metric": "m"}', '{"metric": "m", "scores": [1]}', "\x00"])
def test_scores_that_cannot_be_read_are_none(text: str, tmp_path: Path) -> None:
    write(tmp_path, 2)
    write_score(tmp_path, "m", 2, 0.5)
    assert best_step(tmp_path, "m") == 2
    assert best_step(tmp_path, "another") is None
    (tmp_path / "scores.json").write_text(text)
    assert best_step(tmp_path, "m") is None


def test_nothing_goes_before_the_running_save_is_whole(tmp_path: Path) -> None:
    policy = Policy(lag=2)
    trainer = Trainer(policy)
    this = callback(tmp_path, policy, every=3, keep=1)
    seen = []
    for step in range(1, 10):
        train(this, trainer, {}, last=step)
        seen.append(steps(tmp_path))
    # looks: right after the save, then at each step
    assert seen == [[], [], [], [], [3], [3], [3], [6], [6]]
    this.on_train_end(trainer)
    assert steps(tmp_path) == [9]
    assert policy.log == ["save 3", "save 6", "save 9", "waited"]


def test_a_new_save_waits_for_the_one_before_it(tmp_path: Path) -> None:
    policy = Policy(lag=100)
    trainer = Trainer(policy)
    this = callback(tmp_path, policy, every=2, last=5)
    train(this, trainer, {}, last=5)
    this.on_train_end(trainer)
    assert policy.log == ["save 2", "waited", "save 4", "waited", "save 5", "waited"]
    assert steps(tmp_path) == [4, 5]


def test_a_failed_save_ends_the_run_at_the_next_step_and_leaves_the_last_good_one(tmp_path: Path) -> None:
    policy = Policy(lag=1)
    trainer = Trainer(policy)
    this = callback(tmp_path, policy, every=2, keep=1)
    train(this, trainer, {}, last=4)
    assert steps(tmp_path) == [2]
    policy.error = "step-000004 could not be written: No space left on device (rank 0)"
    with pytest.raises(CheckpointError, match="No space left"):
        train(this, trainer, {}, last=5)
    assert steps(tmp_path) == [2]
    this.on_exception(trainer, None, RuntimeError())
    assert policy.log[-1] == "drained 60"


@pytest.mark.parametrize("lag", [0, 100])
def test_a_stop_saves_the_last_complete_step_unless_it_is_saved(lag: int, tmp_path: Path) -> None:
    policy = Policy(lag=lag)
    trainer = Trainer(policy)
    this = callback(tmp_path, policy, every=2)
    stop = Stopped("USR1")
    train(this, trainer, {}, last=4)
    this.on_exception(trainer, None, stop)
    assert (steps(tmp_path), stop.step) == ([2, 4], 4)
    train(this, trainer, {}, last=5)
    this.on_exception(trainer, None, stop)
    assert (steps(tmp_path), stop.step) == ([4, 5], 5)
    assert [state.step for state in trainer.written] == [2, 4, 5]


def test_a_stop_before_the_first_step_saves_nothing(tmp_path: Path) -> None:
    policy = Policy()
    stop = Stopped("USR1")
    callback(tmp_path, policy).on_exception(Trainer(policy, global_step=8), None, stop)
    assert (steps(tmp_path), stop.step) == ([], 8)


def test_leftovers_go_with_the_next_save(tmp_path: Path) -> None:
    (tmp_path / "step-000001.tmp-writing").mkdir()
    policy = Policy()
    train(callback(tmp_path, policy), Trainer(policy), {}, last=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000002"]


def test_only_rank_0_touches_the_directory(tmp_path: Path) -> None:
    write(tmp_path, 1)
    policy = Policy()
    trainer = Trainer(policy, is_global_zero=False)
    train(callback(tmp_path, policy, keep=1, best="validation/reward_mean"), trainer, {2: 1.0}, last=4)
    assert steps(tmp_path) == [1, 2, 4]
    assert not (tmp_path / "scores.json").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"checkpoint_every": 0}, "'train.checkpoint_every' is 0: it must be at least 1"),
        ({"keep_checkpoints": 0}, "'train.keep_checkpoints' is 0: it must be at least 1"),
        ({"keep_best": ""}, "'train.keep_best' is '': it must be null or the name of a metric"),
        ({"keep_best": "-"}, "'train.keep_best' is '-': it must be null or the name of a metric"),
    ],
)
def test_values_that_no_run_could_use_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        check(Config(train=TrainSection(**values)))
    assert message in str(caught.value)
