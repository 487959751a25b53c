"""A manifest knows a checkpoint's tensors and lets no other set pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pivot.errors import UserError
from pivot.swap import Manifest, SwapError

TENSORS = {
    "model.embed_tokens.weight": torch.zeros(6, 4),
    "model.norm.weight": torch.zeros(4),
    "lm_head.weight": torch.zeros(6, 4),
}
EMBEDDING, NORM, HEAD = TENSORS


def checkpoint(path: Path, tensors: dict[str, Tensor], tied: bool = False) -> Path:
    save_file(tensors, path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied}))
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return Manifest.from_checkpoint(checkpoint(tmp_path, TENSORS))


def test_reads_names_and_shapes(manifest: Manifest) -> None:
    assert manifest.shapes == {EMBEDDING: (6, 4), NORM: (4,), HEAD: (6, 4)}
    assert manifest.optional == {}


def test_a_sharded_checkpoint_has_the_same_digest(manifest: Manifest, tmp_path: Path) -> None:
    sharded = tmp_path / "sharded"
    sharded.mkdir()
    save_file({NORM: TENSORS[NORM]}, sharded / "b.safetensors")
    save_file({n: t for n, t in TENSORS.items() if n != NORM}, sharded / "a.safetensors")
    names = {name: "b.safetensors" if name == NORM else "a.safetensors" for name in TENSORS}
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (sharded / "config.json").write_text("{}")
    found = Manifest.from_checkpoint(sharded)
    assert found.shapes == manifest.shapes
    assert found.digest == manifest.digest
    assert found.digest != Manifest({**found.shapes, NORM: (5,)}, {}).digest


def test_the_whole_set_passes_unchanged_in_any_order(manifest: Manifest) -> None:
    for order in (list(TENSORS.items()), list(TENSORS.items())[::-1]):
        assert [(n, id(t)) for n, t in manifest.check(order)] == [(n, id(t)) for n, t in order]


def test_what_does_not_belong_stops_at_once(manifest: Manifest) -> None:
    extra, norm = ("model.extra", torch.zeros(1)), (NORM, TENSORS[NORM])
    for stream, text in (
        ([norm, extra], r"unexpected tensor model\.extra \[1\]"),
        ([norm, norm], r"tensor model\.norm\.weight came twice"),
        ([norm, (HEAD, torch.zeros(4, 6))], r"lm_head\.weight has shape \[4, 6\].*has \[6, 4\]"),
    ):
        passed = manifest.check(stream)
        assert next(passed)[0] == NORM
        with pytest.raises(SwapError, match=text):
            next(passed)


def test_what_is_missing_stops_at_the_end(manifest: Manifest) -> None:
    passed = manifest.check([(HEAD, TENSORS[HEAD])])
    assert next(passed)[0] == HEAD
    with pytest.raises(SwapError, match=r"2 of 3 tensors are missing: model\.embed_tokens\.weight, model"):
        next(passed)


@pytest.mark.parametrize("stored", [True, False])
def test_a_tied_head_may_come_or_not(tmp_path: Path, stored: bool) -> None:
    tensors = {name: tensor for name, tensor in TENSORS.items() if stored or name != HEAD}
    manifest = Manifest.from_checkpoint(checkpoint(tmp_path, tensors, tied=True))
    assert set(manifest.shapes) == {EMBEDDING, NORM}
    assert len(list(manifest.check(TENSORS.items()))) == 3
    assert len(list(manifest.check((n, t) for n, t in TENSORS.items() if n != HEAD))) == 2
    with pytest.raises(SwapError, match="lm_head"):
        list(manifest.check([(HEAD, torch.zeros(1))]))


def test_an_untied_head_must_come(manifest: Manifest) -> None:
    with pytest.raises(SwapError, match=r"1 of 3 tensors are missing: lm_head\.weight"):
        list(manifest.check((n, t) for n, t in TENSORS.items() if n != HEAD))


def test_directories_without_usable_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no model\.safetensors"):
        Manifest.from_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors: not a readable"):
        Manifest.from_checkpoint(tmp_path)
    checkpoint(tmp_path, {NORM: TENSORS[NORM]})
    index = {"weight_map": {NORM: "model.safetensors", HEAD: "model.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"index promises lm_head\.weight"):
        Manifest.from_checkpoint(tmp_path)
    index = {"weight_map": {NORM: "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-2\.safetensors"):
        Manifest.from_checkpoint(tmp_path)
