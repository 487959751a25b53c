"""Speed and error of FP8 blocks in torch, against the way an engine's helper quantises a whole matrix at once.

python -m benchmarks.fp8 [--rows 4096] [--columns 2048] [--repeat 5]

Normal bfloat16 weights with a standard deviation of 0.02, as many threads as OMP_NUM_THREADS says. The other side is
vLLM's ``per_block_cast_to_fp8`` in torch's operators; both take turns. The last columns say how far the logprobs of the
embedded world's tiny MoE move when its weights have been in FP8, over episodes of its world. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

from pivot.demo.run import CHECKPOINT
from pivot.swap.formats import FORMATS, Format
from pivot.swap.fp8 import dequantise, quantise
from pivot.swap.keep import WireSettings, wire_format
from pivot.world.corpus import conversations, encode_document
from pivot.world.tokenizer import render


def error(values: Tensor, weights: Tensor) -> tuple[float, float]:
    """(root mean square error over root mean square weight, mean relative error of weights that are not 0)."""
    exact = weights.double()
    off = (values.double() - exact).abs()
    some = exact != 0
    return float((off.square().mean() / exact.square().mean()).sqrt()), float((off[some] / exact[some].abs()).mean())


def model_of(format: Format | None, folder: Path) -> Any:
    """The tiny MoE in float32 with weights that have been on the wire; None: as they are."""
    weights = load_file(CHECKPOINT / "model.safetensors")
    for name, tensor in weights.items():
        if used := wire_format(name, tuple(tensor.shape), WireSettings(format)):
            weights[name] = dequantise(quantise(tensor, used), tensor.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    copyfile(CHECKPOINT / "config.json", folder / "config.json")
    return Qwen3MoeForCausalLM.from_pretrained(folder, dtype=torch.float32)


@torch.no_grad()
def logprob_changes() -> dict[str, tuple[float, float]]:
    """Format -> mean and largest absolute change of a token's logprob, in nats, over 16 episodes of the world."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CHECKPOINT)
    texts = ("".join(render(*turn) for turn in talk) for talk in islice(conversations("episode", seed=1), 16))
    episodes = [torch.tensor([encode_document(tokenizer, text).tokens[:2048]]) for text in texts]
    scores: dict[Format | None, Tensor] = {}
    with TemporaryDirectory() as folder:
        for format in (None, *FORMATS.values()):
            model = model_of(format, Path(folder))
            scores[format] = torch.cat([scored(model, tokens) for tokens in episodes])
    gaps = {format.name: (scores[format] - scores[None]).abs() for format in FORMATS.values()}
    return {name: (float(gap.mean()), float(gap.max())) for name, gap in gaps.items()}


def scored(model: Any, tokens: Tensor) -> Tensor:
    """Logprobs of all tokens [1, length] but the first."""
    logits = model(input_ids=tokens).logits[0, :-1]
    return torch.log_softmax(logits, -1).gather(-1, tokens[0, 1:, None])[..., 0]


def timed(sides: dict[str, Callable[[], Any]], repeat: int) -> dict[str, float]:
    """Median seconds of each side; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for run in sides.values():
        run()
    for _ in range(repeat):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(runs) for name, runs in seconds.items()}


def main() -> None:
    """Print the table and, as the last line, the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    from vllm.utils.deep_gemm import per_block_cast_to_fp8

    generator = torch.Generator().manual_seed(0)
    weights = (torch.randn(asked.rows, asked.columns, generator=generator) * 0.02).bfloat16()
    sides: dict[str, Callable[[], Any]] = {"vllm": lambda: per_block_cast_to_fp8(weights)}
    for format in FORMATS.values():
        found = quantise(weights, format)
        sides[format.name] = lambda format=format: quantise(weights, format)
        sides[f"{format.name} back"] = lambda found=found: dequantise(found, torch.bfloat16)
    seconds = timed(sides, asked.repeat)
    changes = logprob_changes()
    table = Table(title=f"{asked.rows} x {asked.columns} bfloat16 weights, million values a second")
    for column in ("format", "to FP8", "back", "rms error", "mean relative error", "mean |dlogprob|", "largest"):
        table.add_column(column, justify="right")
    figures: dict[str, dict[str, float]] = {}
    million = weights.numel() / 1e6
    for format in FORMATS.values():
        rms, mean = error(dequantise(quantise(weights, format), torch.float32), weights)
        to, back = million / seconds[format.name], million / seconds[f"{format.name} back"]
        gap, largest = changes[format.name]
        row = {"to": to, "back": back, "rms": rms, "mean": mean, "logprob": gap, "largest": largest}
        figures[format.name] = row
        speed = f"{to:,.0f}", f"{back:,.0f}"
        table.add_row(format.name, *speed, *(f"{value:.4f}" for value in (rms, mean, gap, largest)))
    table.add_row("vLLM, block", f"{million / seconds['vllm']:,.0f}")
    Console(soft_wrap=True).print(table)
    print(
        json.dumps(
            {
                "block_over_vllm": round(seconds["vllm"] / seconds["block"], 2),
                **{name: {key: round(value, 4) for key, value in row.items()} for name, row in figures.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
