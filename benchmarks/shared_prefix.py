"""One prompt pass a group against a copy of the prompt for every action, on the same groups in one run.

python -m benchmarks.shared_prefix --history 1024 --action 64 --group 16 [--groups 1] [--repeat 3] [--curve]

One rank, float32 (or --dtype bfloat16), the shape of the embedded world's tiny MoE with random weights. Both ways go
through the same policy and the same loss; they take turns, and medians are shown. Memory is the peak of the process's
resident set during one pass, above what it was before. The last line is JSON.
"""

import argparse
import ctypes
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from pivot.layout import Layout
from pivot.policy import OptimizerSettings, PackedGroup, Policy, initialize
from pivot.policy.segments import Segment, blocks

CURVE = [(256, 32, 8), (256, 64, 16), (1024, 64, 4), (1024, 64, 8), (1024, 64, 16), (4096, 64, 16)]


@dataclass(frozen=True, slots=True)
class Model:
    """The numbers that a projection needs: active parameters of a token, and attention's size."""

    name: str
    active: float
    layers: int
    heads: int
    head: int


QWEN3_30B = Model("Qwen3-30B-A3B", 3.3e9, 48, 32, 128)
# (what, history, action, group): the median prompt of tau2's public SFT trajectories, and a full 32k context
SHAPES = [("tau2 median turn", 9_400, 200, 16), ("32k context", 32_256, 512, 16)]


def work(model: Model, history: int, action: int, group: int, shared: bool) -> float:
    """Floating-point operations of one forward and backward pass over a group, by counting.

    Six an active parameter and token, and twelve a head feature for every pair of attention.
    """
    rows = action - 1
    if shared:
        segments = [Segment(0, history)]
        segments += [Segment(history + i * rows, history + (i + 1) * rows, (0, history)) for i in range(group)]
    else:
        length = history + rows
        segments = [Segment(i * length, (i + 1) * length) for i in range(group)]
    tokens = segments[-1].stop
    pairs = sum(block.pairs for block in blocks(segments, [(0, tokens)]))
    return 6 * model.active * tokens + 12 * model.layers * model.heads * model.head * pairs


def write_model(directory: Path, positions: int) -> None:
    """A random checkpoint of the tiny MoE's shape with room for long histories."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    from pivot.world.tiny_moe import SHAPE
    from pivot.world.tokenizer import VOCABULARY

    torch.manual_seed(0)
    config = Qwen3MoeConfig(vocab_size=VOCABULARY, **{**SHAPE, "max_position_embeddings": positions})
    Qwen3MoeForCausalLM(config).save_pretrained(directory)


def draw(history: int, action: int, group: int, count: int) -> list[PackedGroup]:
    """Random groups."""
    generator = torch.Generator().manual_seed(1)

    def tokens(length: int) -> Tensor:
        return torch.randint(0, 1024, (length,), generator=generator)

    return [PackedGroup(tokens(history), tuple(tokens(action) for _ in range(group))) for _ in range(count)]


def peak_above(run: Any) -> tuple[float, float]:
    """(seconds, peak bytes of resident memory above the start) of a call."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    before, start = resident("VmRSS"), time.perf_counter()
    run()
    return time.perf_counter() - start, resident("VmHWM") - before


def resident(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def compare(policy: Policy, groups: Sequence[PackedGroup], repeat: int) -> dict[str, Any]:
    """Both ways over the same groups."""
    ways = {"shared": list(groups), "replicated": [one for group in groups for one in group.replicated()]}

    def loss(_: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return -(logprobs.sum() + 0.01 * entropy.sum()) / logprobs.numel(), {}

    scores = {name: policy.logprobs([batch])[0][0] for name, batch in ways.items()}
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, batch in ways.items():
            runs[name].append(peak_above(lambda batch=batch: policy.forward_backward([batch], loss)))
    gradients = {}
    for name, batch in ways.items():
        policy.forward_backward([batch], loss)
        gradients[name] = {key: value.clone() for key, value in policy.hf_gradients()}
    seconds = {name: statistics.median(run[0] for run in found) for name, found in runs.items()}
    memory = {name: statistics.median(run[1] for run in found) for name, found in runs.items()}
    tokens = {name: sum(group.rows for group in batch) for name, batch in ways.items()}
    worst = max(
        ((gradients["shared"][key] - value).norm() / value.norm().clamp_min(1e-12)).item()
        for key, value in gradients["replicated"].items()
    )
    return {
        "seconds": seconds,
        "tokens": tokens,
        "speedup": round(seconds["replicated"] / seconds["shared"], 2),
        "token_ratio": round(tokens["replicated"] / tokens["shared"], 2),
        "memory_ratio": round(memory["shared"] / memory["replicated"], 3),
        "max_logprob_error": (scores["shared"] - scores["replicated"]).abs().max().item(),
        "max_gradient_error": worst,
    }


def main() -> None:
    """Print the tables and, as the last line, the asked-for comparison as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("history", 1024), ("action", 64), ("group", 16), ("groups", 1), ("repeat", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--curve", action="store_true", help="also other sizes")
    asked = parser.parse_args()
    sizes = [(asked.history, asked.action, asked.group)]
    sizes += [size for size in CURVE if asked.curve and size not in sizes]
    console = Console(width=max(110, Console().width), soft_wrap=True)
    initialize(Layout(), seed=0)
    with tempfile.TemporaryDirectory() as directory:
        write_model(Path(directory), max(history + action for history, action, _ in sizes))
        policy = Policy.from_hf(
            directory, Layout(), dtype=getattr(torch, asked.dtype), optimizer=OptimizerSettings(), freeze_router=True
        )
        found = [
            compare(policy, draw(*size, asked.groups), asked.repeat)
            for size in track(sizes, "measuring", console=console)
        ]
    table = Table(title=f"Shared prefix against replicated, forward + backward, {asked.dtype}, one rank")
    for column in ("history", "action", "group", "tokens", "fewer", "speedup", "memory", "max |dlogp|", "gradient"):
        table.add_column(column, justify="right")
    for size, result in zip(sizes, found, strict=True):
        tokens = result["tokens"]
        table.add_row(
            *map(str, size), f"{tokens['replicated']} -> {tokens['shared']}", f"{result['token_ratio']:.1f}x",
            f"{result['speedup']:.1f}x", f"{result['memory_ratio']:.2f}x", f"{result['max_logprob_error']:.1e}",
            f"{result['max_gradient_error']:.1e}",
        )  # fmt: skip
    console.print(table)
    projection = {}
    for what, history, action, group in SHAPES:
        ways = [work(QWEN3_30B, history, action, group, shared) for shared in (False, True)]
        projection[what] = round(ways[0] / ways[1], 2)
        console.print(
            f"{QWEN3_30B.name}, {what} ({history} + {action} tokens, G = {group}), by counting operations: "
            f"{ways[0]:.2e} -> {ways[1]:.2e}, {projection[what]:.1f}x less"
        )
    print(json.dumps({**found[0], "history": asked.history, "action": asked.action, "group": asked.group,
                      "projection": projection}))  # fmt: skip


if __name__ == "__main__":
    main()
