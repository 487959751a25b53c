"""Saves while training goes on: what they capture, that they equal saves in front, and how they fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.demo.run import CHECKPOINT
from pivot.layout import Layout
from pivot.policy import OptimizerSettings, verify
from tests.parity.conftest import Reference
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("checkpoint_workers.py")
LAYOUT = Layout(tensor=2, expert=2)
OTHERS = [Layout(pipeline=2), Layout(expert=2)]
NAMES = ["front", "behind"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def saved(moe: Reference, folder: Path) -> list[dict[str, Any]]:
    return run("save", 2, moe, layout=LAYOUT, folder=folder, options={})


@pytest.fixture(scope="module")
def loaded(saved: list[dict[str, Any]], moe: Reference, folder: Path) -> list[list[dict[str, Any]]]:
    """In new processes: the same layout from either save, and the others."""
    places = [(LAYOUT, "front"), (LAYOUT, "behind"), *((layout, "behind") for layout in OTHERS)]
    return run("load", 2, moe, places=places, folder=folder, options={})


@pytest.fixture(scope="module")
def alone(saved: list[dict[str, Any]], moe: Reference, folder: Path) -> list[dict[str, Any]]:
    """On one rank."""
    [found] = run("load", 1, moe, places=[(Layout(), n) for n in ("behind", "overwritten")], folder=folder, options={})
    return found


def run(function: str, ranks: int, moe: Reference, **arguments: Any) -> list[Any]:
    return launch(WORKERS, function, ranks, path=moe.path, samples=moe.samples, **arguments)


def check_exact(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Weights, logprobs, losses of five steps and weights after them, to the bit."""
    assert found["extra"] == {"step": 3}
    assert found["losses"] == expected["losses"]
    assert torch.equal(found["logprobs"], expected["logprobs"])
    for key in ("before", "after"):
        assert found[key].keys() == expected[key].keys()
        assert [n for n, tensor in expected[key].items() if not torch.equal(found[key][n], tensor)] == []
    assert any(not torch.equal(found["before"][name], found["after"][name]) for name in found["before"])


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_same_layout_goes_on_to_the_bit_from_either_kind_of_save(
    saved: list[dict[str, Any]], loaded: list[list[dict[str, Any]]]
) -> None:
    """The save behind was asked for before five steps, and wrote after them: it has the weights before them."""
    for found, expected in zip(loaded, saved, strict=True):
        for each in found[: len(NAMES)]:
            check_exact(each, expected)


def test_both_kinds_of_save_write_the_same_bytes(saved: list[dict[str, Any]], folder: Path) -> None:
    front, behind = (contents(folder / name) for name in NAMES)
    assert [name for name in sorted(front) if front[name] != behind.get(name)] == []
    assert sorted(front) == sorted(behind)
    assert {name.split("/")[0] for name in front} == {"manifest.json", "model", "rng"}


@pytest.mark.parametrize("to", ["pipeline 2", "expert 2", "one rank"])
def test_another_layout_goes_on(
    to: str, saved: list[dict[str, Any]], loaded: list[list[dict[str, Any]]], alone: list[dict[str, Any]]
) -> None:
    found = {"pipeline 2": loaded[0][2], "expert 2": loaded[0][3], "one rank": alone[0]}[to]
    expected = saved[0]
    assert found["extra"] == {"step": 3}
    assert [n for n, tensor in expected["before"].items() if not torch.equal(found["before"][n], tensor)] == []
    assert (found["logprobs"] - expected["logprobs"]).abs().max() < 1e-5
    assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)
    assert len(set(found["losses"])) == 5
    for name, tensor in expected["after"].items():
        assert (found["after"][name] - tensor).abs().max() < 1e-4, name


def test_a_running_save_sees_nothing_of_what_happens_to_the_weights(
    saved: list[dict[str, Any]], alone: list[dict[str, Any]]
) -> None:
    """Right after the call every parameter became NaN, before a byte was written."""
    assert [rank["finished"] for rank in saved] == [[False, False, True]] * 2
    assert alone[1]["extra"] == {"step": 8}
    after = saved[0]["after"]
    assert [name for name, tensor in after.items() if not torch.equal(alone[1]["before"][name], tensor)] == []


def test_distributed_optimizer_in_bf16_goes_on_to_the_bit(moe: Reference, tmp_path: Path) -> None:
    options = {"optimizer": OptimizerSettings(distributed=True), "dtype": torch.bfloat16}
    for found in run("save_then_load", 2, moe, layout=Layout(expert=2), names=NAMES, folder=tmp_path, options=options):
        for each in found["loaded"]:
            check_exact(each, found["saved"])
    assert contents(tmp_path / "front") == contents(tmp_path / "behind")


def test_a_failed_save_is_told_on_every_rank_and_a_new_one_waits_for_the_running_one(
    moe: Reference, tmp_path: Path
) -> None:
    """After a save without room, what was there is there and nothing else; then four saves follow each other."""
    for found in run("fail_and_wait", 2, moe, folder=tmp_path):
        line = f"{tmp_path}/failed could not be written: [Errno 27] File too large (rank 1)"
        assert found["told"][:2] == [[line, "finished afterwards: True"]] * 2
        replaced = f"{tmp_path}/good could not be written: this attempt has been replaced by process 1 (rank 0)"
        assert found["told"][2:] == [[replaced]] * 2
        assert found["left"] == ["good"]
        assert found["extra"] == {"step": 3}
        assert found["again"] == found["losses"][3]
        assert len(set(found["losses"])) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "good"]
    assert verify(tmp_path / "good")["extra"] == {"step": 0}
    manifests = [verify(tmp_path / name) for name in ("0", "1", "2", "3")]
    assert [manifest["extra"]["step"] for manifest in manifests] == [0, 1, 2, 3]
    assert len({manifest["files"]["model/__0_0.distcp"]["sha256"] for manifest in manifests}) == 4


def test_the_checkpoint_of_another_model_is_refused_with_the_fix(moe: Reference, tmp_path: Path) -> None:
    [said] = launch(WORKERS, "load_anothers", 1, path=moe.path, other=CHECKPOINT, folder=tmp_path)
    assert said.startswith(
        f"{tmp_path}/other is of another model than this one: set another run.dir, or model.path to its own ("
    )
    assert "\n" not in said
