"""Resume: exact in the same layout, close in another, refused when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pivot.layout import Layout
from pivot.policy import CheckpointError, verify
from tests.parity.conftest import Reference
from tests.parity.launch import launch

WORKERS = Path(__file__).with_name("workers.py")
LAYOUT = Layout(tensor=2, expert=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def saved(moe: Reference, folder: Path) -> list[dict[str, Any]]:
    return launch(
        WORKERS,
        "save_and_go_on",
        2,
        path=moe.path,
        samples=moe.samples,
        layout=LAYOUT,
        folder=folder / "plain",
        options={},
    )


def same(actual: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return actual.keys() == expected.keys() and all(torch.equal(actual[name], expected[name]) for name in expected)


def test_same_layout_continues_bit_for_bit(saved: list[dict[str, Any]], moe: Reference, folder: Path) -> None:
    """In new processes: weights, both following steps and what is drawn, on each rank; then other layouts."""
    layouts = [LAYOUT, Layout(pipeline=2), Layout(expert=2)]
    found = launch(
        WORKERS,
        "load_and_go_on",
        2,
        path=moe.path,
        samples=moe.samples,
        layouts=layouts,
        folder=folder / "plain",
        options={},
    )
    for rank, expected in zip(found, saved, strict=True):
        same_layout, *others = rank
        assert same_layout["extra"] == {"step": 2, "note": "ö"}
        assert same(same_layout["loaded"], expected["saved"])
        for actual, step in zip(same_layout["next"], expected["next"], strict=True):
            assert actual["drawn"] == step["drawn"]
            assert actual["norm"] == step["norm"]
            assert same(actual["weights"], step["weights"])
        for other in others:
            assert same(other["loaded"], expected["saved"])
            assert other["next"][0]["norm"] == pytest.approx(expected["next"][0]["norm"], rel=1e-5)
    assert saved[0]["next"][0]["drawn"] != saved[1]["next"][0]["drawn"]  # ranks have states of their own


def test_one_rank_takes_over(saved: list[dict[str, Any]], moe: Reference, folder: Path) -> None:
    (found,) = launch(
        WORKERS,
        "resharded_step",
        1,
        path=moe.path,
        samples=moe.samples,
        layout=Layout(),
        folder=folder / "plain",
    )
    expected = launch(
        WORKERS,
        "resharded_step",
        2,
        path=moe.path,
        samples=moe.samples,
        layout=LAYOUT,
        folder=folder / "plain",
    )
    assert any("random states are not restored" in text for text in found["warnings"])
    assert not expected[0]["warnings"]
    for name, weight in expected[0]["weights"].items():
        assert (found["weights"][name] - weight).abs().max() < 1e-5, name


def damage(good: Path, where: Path) -> None:
    """Copies of ``good``, each damaged in one way; ``z-good`` is not."""
    for name in (
        "a-absent-manifest",
        "b-cut-file",
        "c-flipped-byte",
        "d-missing-file",
        "e-manifest-text",
        "z-good",
    ):
        shutil.copytree(good, where / name)
    (where / "a-absent-manifest" / "manifest.json").unlink()
    big = max((where / "b-cut-file" / "model").iterdir(), key=lambda f: f.stat().st_size).name
    file = where / "b-cut-file" / "model" / big
    file.write_bytes(file.read_bytes()[:-100])
    file = where / "c-flipped-byte" / "model" / big
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    (where / "d-missing-file" / "rng" / "00001.pt").unlink()
    (where / "e-manifest-text" / "manifest.json").write_text('{"format": 1, "fil')


def test_damaged_checkpoints_are_refused_with_the_reason(
    saved: list[dict[str, Any]], moe: Reference, folder: Path, tmp_path: Path
) -> None:
    damage(folder / "plain" / "two", tmp_path)
    for found in launch(WORKERS, "load_damaged", 2, path=moe.path, folder=tmp_path):
        reasons = found["reasons"]
        assert "manifest.json does not exist" in reasons["a-absent-manifest"]
        assert "bytes, not" in reasons["b-cut-file"]
        assert "does not match its hash" in reasons["c-flipped-byte"]
        assert "rng/00001.pt is missing" in reasons["d-missing-file"]
        assert "manifest.json is damaged" in reasons["e-manifest-text"]
        assert reasons["z-good"] == "loaded"
        assert found["touched_by_damaged"] is False
        assert found["touched_by_good"] is True
    with pytest.raises(CheckpointError, match="bytes, not"):
        verify(tmp_path / "b-cut-file", hashes=False)
    assert verify(tmp_path / "c-flipped-byte", hashes=False)["extra"]["step"] == 2
