"""A checkpoint in two shards."""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from pivot.ops.doctor.smoke import CHECKPOINT


def write_shards(directory: Path) -> Path:
    """The tiny MoE, its tensors spread over two files with an index."""
    shutil.copytree(CHECKPOINT, directory, ignore=shutil.ignore_patterns("model.safetensors"))
    tensors = load_file(CHECKPOINT / "model.safetensors")
    names, where = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{number}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, directory / file)
        where |= dict.fromkeys(part, file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return directory
