"""Seconds that a checkpoint stops training, written in front of it or behind its back, on 1 and 2 ranks.

python -m benchmarks.checkpoint [--megabytes 200] [--repeats 5]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging

from pivot.layout import Layout
from pivot.policy import OptimizerSettings, PackedSample, Policy, initialize

HIDDEN, VOCABULARY, TOKENS = 256, 4096, 256
BYTES = 12  # of a parameter's state: fp32 weight and two moments
LAYOUTS = {1: Layout(), 2: Layout(tensor=2)}


def write_model(directory: Path, megabytes: int) -> None:
    """A random dense model whose training state has about so many megabytes."""

    def model(layers: int) -> Qwen3ForCausalLM:
        shape = {"hidden_size": HIDDEN, "intermediate_size": 4 * HIDDEN, "vocab_size": VOCABULARY, "head_dim": 64}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "tie_word_embeddings": False}
        return Qwen3ForCausalLM(Qwen3Config(**shape, **heads, num_hidden_layers=layers))

    empty, one = (sum(parameter.numel() for parameter in model(layers).parameters()) for layers in (0, 1))
    layers = max(1, round((megabytes * 1e6 / BYTES - empty) / (one - empty)))
    model(layers).save_pretrained(directory)


def step(policy: Policy) -> None:
    """One update on one sequence."""
    tokens = torch.arange(TOKENS) % VOCABULARY
    policy.forward_backward([[PackedSample(tokens, 1)]], lambda _, logprobs, entropy: (-logprobs.mean(), {}))
    policy.optimizer_step(1e-5)


def timed(policy: Policy, directory: Path, alone: float, *, background: bool) -> dict[str, float]:
    """One save: seconds that the call blocks, that pass until it is on disk, and that training loses by then.

    Args:
        policy: what is saved, and trained meanwhile.
        directory: where.
        alone: seconds of a step without a save.
        background: the kind of save.
    """
    start, steps = time.perf_counter(), 0
    policy.save(directory, {}, background=background)
    blocked = time.perf_counter() - start
    while not policy.finish_save(wait=False):
        step(policy)
        steps += 1
    on_disk = time.perf_counter() - start
    return {"blocked": blocked, "on_disk": on_disk, "lost": on_disk - steps * alone}


def rank(arguments: argparse.Namespace) -> None:
    """What one rank measures: medians over the repeats, after a save of each kind that does not count."""
    layout = LAYOUTS[int(os.environ["WORLD_SIZE"])]
    initialize(layout, seed=0)
    policy = Policy.from_hf(arguments.rank / "model", layout, optimizer=OptimizerSettings())
    times = []
    for _ in range(arguments.repeats + 1):
        before = time.perf_counter()
        step(policy)
        times.append(time.perf_counter() - before)
    alone = median(times[1:])
    result: dict[str, Any] = {"step": round(alone, 4)}
    checkpoint = arguments.rank / "checkpoint"
    for kind in ("sync", "async"):
        rows = [timed(policy, checkpoint, alone, background=kind == "async") for _ in range(arguments.repeats + 1)]
        result[kind] = {name: round(median(row[name] for row in rows[1:]), 4) for name in rows[0]}
    size = sum(file.stat().st_size for file in checkpoint.rglob("*") if file.is_file())
    if os.environ["RANK"] == "0":
        (arguments.rank / "result.json").write_text(json.dumps({"megabytes": round(size / 1e6, 1), **result}))


def measure(ranks: int, repeats: int, directory: Path) -> dict[str, Any]:
    """Run `rank` on so many ranks."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={ranks}",
    ]
    command += ["-m", "benchmarks.checkpoint", "--rank", str(directory), "--repeats", str(repeats)]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    subprocess.run(command, env=environment, check=True, cwd=Path(__file__).resolve().parents[1])
    return {"ranks": ranks, **json.loads((directory / "result.json").read_text())}


def main() -> None:
    """Measure on 1 and 2 ranks; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200, help="weights and optimizer (default: 200)")
    parser.add_argument("--repeats", type=int, default=5, help="saves of each kind (default: 5)")
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank:
        rank(arguments)
        return
    logging.disable_progress_bar()
    table = Table("ranks", "MB", "save", "blocks s", "on disk after s", "training loses s")
    rows = []
    for ranks in LAYOUTS:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder) / "model", arguments.megabytes)
            row = measure(ranks, arguments.repeats, Path(folder))
        rows.append(row)
        for kind in ("sync", "async"):
            shown = (f"{row[kind][name]:.3f}" for name in ("blocked", "on_disk", "lost"))
            table.add_row(str(ranks), f"{row['megabytes']:g}", kind, *shown)
    Console().print(table)
    ratio = min(row["sync"]["blocked"] / row["async"]["blocked"] for row in rows)
    print(json.dumps({"benchmark": "checkpoint", "blocked_ratio": round(ratio, 2), "rows": rows}))


if __name__ == "__main__":
    main()
