"""Speed and error of FP8 blocks in torch, against the way an engine's helper quantises a whole matrix at once.

python -m benchmarks.fp8 [--rows 4096] [--columns 2048] [--repeat 5]

Normal bfloat16 weights with a standard deviation of 0.02, one thread or what OMP_NUM_THREADS says. The other side is
vLLM's ``per_block_cast_to_fp8`` in torch's operators; both take turns. The last line is JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pivot.swap.formats import FORMATS
from pivot.swap.fp8 import dequantise, quantise


def error(values: Tensor, weights: Tensor) -> tuple[float, float]:
    """(root mean square error over root mean square weight, mean relative error of weights that are not 0)."""
    exact = weights.double()
    off = (values.double() - exact).abs()
    some = exact != 0
    return float((off.square().mean() / exact.square().mean()).sqrt()), float((off[some] / exact[some].abs()).mean())


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
    table = Table(title=f"{asked.rows} x {asked.columns} bfloat16 weights, million values a second")
    for column in ("format", "to FP8", "back", "rms error", "mean relative error"):
        table.add_column(column, justify="right")
    figures: dict[str, dict[str, float]] = {}
    million = weights.numel() / 1e6
    for format in FORMATS.values():
        rms, mean = error(dequantise(quantise(weights, format), torch.float32), weights)
        to, back = million / seconds[format.name], million / seconds[f"{format.name} back"]
        row = figures[format.name] = {"to": to, "back": back, "rms": rms, "mean": mean}
        table.add_row(format.name, f"{row['to']:,.0f}", f"{row['back']:,.0f}", f"{rms:.4f}", f"{mean:.4f}")
    table.add_row("vLLM, block", f"{million / seconds['vllm']:,.0f}", "", "", "")
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
