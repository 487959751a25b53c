"""A checkpoint directory, whole and broken in every way that happens."""

import json
import shutil
from pathlib import Path

import pytest

from pivot.ops.doctor.row import Row
from pivot.ops.doctor.smoke import CHECKPOINT
from pivot.ops.doctor.weights import check, layer_of, read_weights
from tests.unit.ops.doctor.shards import write_shards


def bad(directory: Path) -> Row:
    rows, weights, _ = check(directory)
    assert weights is None or rows[-1].name == "model.weights"
    return rows[-1]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """The tiny MoE cut into two shards with an index."""
    return write_shards(tmp_path / "model")


def test_the_tiny_model_is_whole() -> None:
    rows, weights, config = check(CHECKPOINT)
    assert weights is not None
    assert weights.layers == {0, 1, 2, 3}
    size = (CHECKPOINT / "model.safetensors").stat().st_size
    assert weights.size == size
    assert rows == [
        Row.green("model.config", f"qwen3_moe in {CHECKPOINT}"),
        Row.green("model.weights", f"{weights.parameters:,} parameters in {weights.tensors} tensors, 1 files, "
                  f"{size / 2**20:.1f} MiB"),
    ]  # fmt: skip
    assert config["num_hidden_layers"] == 4


def test_shards_hold_the_same(shards: Path) -> None:
    whole, cut = read_weights(CHECKPOINT), read_weights(shards)
    assert (cut.tensors, cut.parameters, cut.layers, cut.shards) == (whole.tensors, whole.parameters, whole.layers, 2)


def test_no_directory_and_no_config(tmp_path: Path) -> None:
    assert bad(tmp_path / "none").found == f"model.path={tmp_path / 'none'}: no such directory here"
    shutil.copy(CHECKPOINT / "model.safetensors", tmp_path)
    rows, weights, config = check(tmp_path)
    assert rows[0] == Row.red("model.config", f"{tmp_path / 'config.json'}: No such file or directory",
                              "fetch the checkpoint again")  # fmt: skip
    assert weights is not None
    assert config == {}
    (tmp_path / "config.json").write_text("{")
    assert "no JSON" in check(tmp_path)[0][0].found


def test_a_missing_shard(shards: Path) -> None:
    (shards / "model-00002-of-00002.safetensors").unlink()
    assert bad(shards) == Row.red(
        "model.weights", f"{shards}: 1 of 2 shards are missing, model-00002-of-00002.safetensors first",
        "fetch the checkpoint again",
    )  # fmt: skip


def test_a_shard_that_is_cut_off_or_too_long(shards: Path) -> None:
    shard = shards / "model-00001-of-00002.safetensors"
    content = shard.read_bytes()
    for changed in (content[:-100], content + b"x"):
        shard.write_bytes(changed)
        found = bad(shards).found
        assert found == f"{shard}: {len(changed):,} bytes long; its header says {len(content):,}"
    shard.write_bytes(content[:50])
    assert bad(shards).found == f"{shard}: its header is cut off, or no safetensors header"
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")  # the pointer instead of the file
    assert "no safetensors file" in bad(shards).found
    shard.write_bytes(b"")
    assert bad(shards).found == f"{shard}: no safetensors file (0 B)"


def test_a_header_that_contradicts_itself(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert bad(tmp_path).found == f"{tmp_path / 'model.safetensors'}: w is 8 bytes long, not F32 [2, 2]"
    header = b'{"w": {"shape": []}}'
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "no safetensors header" in bad(tmp_path).found


def test_an_index_that_does_not_fit(shards: Path) -> None:
    index = shards / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    table["weight_map"]["model.more"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(table))
    assert bad(shards).found == (
        f"{shards / 'model-00001-of-00002.safetensors'}: no model.more in it, which {index.name} promises"
    )
    index.write_text("[]")
    assert bad(shards).found == f"{index}: no JSON object"
    index.write_text("{}")
    assert bad(shards).found == f"{index}: no weight_map in it"


def test_layers_that_are_not_there(shards: Path) -> None:
    config = json.loads((shards / "config.json").read_text())
    (shards / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 6}))
    assert bad(shards).found == "no tensors of layer 4 (2 of 6 layers)"


def test_a_file_that_the_index_does_not_name(shards: Path) -> None:
    shutil.copy(shards / "model-00001-of-00002.safetensors", shards / "old.safetensors")
    row = check(shards)[0][1]
    assert row.found.endswith("; model.safetensors.index.json names none of old.safetensors")
    assert row.fix == "remove files of another checkpoint"


def test_no_pickles(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    assert "only safetensors weights are read" in bad(tmp_path).found


def test_numbers_of_layers() -> None:
    assert layer_of("model.layers.12.mlp.experts.3.up_proj.weight") == 12
    assert layer_of("backbone.layers.0.norm.weight") == 0
    assert layer_of("lm_head.weight") is None
