"""Seconds that new weights take from the policy into the engine, by phase, against a plain copy of the same bytes.

python -m benchmarks.swap [--megabytes 256 1000] [--repeats 5]

Random Qwen3-MoE models in bfloat16, one engine a rank: on 1 rank (nothing crosses a wire), on 2 with the experts split
over both (half of the experts cross it), and on 2 with FP8 blocks on the wire. The copy is of the same tensors, in the
same process, in turn with the swaps. A swap is timed twice: into plain memory, where each tensor is copied to its place
and that is all, and into vLLM, whose loader makes fresh memory for each layer, packs it and copies it to where its
kernels look; all of that (`post_process`, see `Own`) is timed apart. Then comes what eight GPUs would take for
Qwen3-30B-A3B, worked out and not measured. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from pivot.rollout import prepare_environment

prepare_environment()

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from benchmarks.swap_projection import project  # noqa: E402
from pivot import ranks  # noqa: E402
from pivot.layout import Layout  # noqa: E402
from pivot.policy import Policy, initialize  # noqa: E402
from pivot.policy.hf import hf_shapes  # noqa: E402
from pivot.rollout import Engine  # noqa: E402
from pivot.shape import read_shape  # noqa: E402
from pivot.swap import Manifest, SwapSettings, open_swap, probe  # noqa: E402
from pivot.swap.formats import FORMATS  # noqa: E402
from pivot.swap.keep import WireSettings  # noqa: E402

TOKENIZER = Path(__file__).resolve().parents[1] / "pivot" / "world" / "tiny-moe"
CONTEXT = 256
PAGE = 4096
TITLE = (
    "Seconds of a swap into vLLM, by phase. Over memcpy: a swap into plain memory, and into vLLM without its own part"
)
CASES = {"1 rank": (1, None), "2 ranks": (2, None), "2 ranks, fp8": (2, "block")}
PROBE = [[7 * i % 500 + 3 for i in range(64)]] * 2


def write_model(directory: Path, megabytes: int) -> None:
    """A random Qwen3-MoE of about so many megabytes, in bfloat16: layers of Qwen3-30B-A3B with fewer experts."""
    config: dict[str, Any] = {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_hidden_layers": 1,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": 1024,
        "moe_intermediate_size": 768,
        "num_experts": 8,
        "num_experts_per_tok": 4,
        "norm_topk_prob": True,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
    }

    def size(layers: int) -> int:
        shapes = hf_shapes(read_shape(config | {"num_hidden_layers": layers}))
        return sum(2 * torch.Size(shape).numel() for shape in shapes.values())

    config["num_hidden_layers"] = max(2, round((megabytes * 1e6 - size(0)) / (size(1) - size(0)) / 2) * 2)
    directory.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (directory / file).write_bytes((TOKENIZER / file).read_bytes())
    (directory / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    shapes = hf_shapes(read_shape(config))
    tensors = {
        name: torch.ones(shape, dtype=torch.bfloat16) if "norm" in name else _random(shape)
        for name, shape in shapes.items()
    }
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _random(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.empty(shape).uniform_(-0.05, 0.05).bfloat16()


class Placed:
    """An engine that copies what it is given to where it has its weights, and does nothing else."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        self.weights = weights

    def update_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: str) -> None:
        for name, tensor in weights:
            self.weights[name].copy_(tensor)


class Own:
    """Seconds that vLLM's reload spends on its own account: all but the loaders that copy a tensor to its place.

    Those are: taking every layer apart and putting it together again, a first pass over the loaders that only counts,
    making the memory that they copy into, packing it for the kernels, and the copy from there to where kernels look.
    Memory is fresh for every layer; the kernel provides a page of it when it is first touched, which is done here as
    soon as it is made, so that it counts as making it and not as the loaders' copy.
    """

    def __init__(self) -> None:
        from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod
        from vllm.model_executor.layers.linear import UnquantizedLinearMethod
        from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
        from vllm.model_executor.model_loader.reload import layerwise

        from pivot.rollout import transport

        self.seconds = 0.0
        self._depth = 0
        for kind in (UnquantizedFusedMoEMethod, UnquantizedLinearMethod, UnquantizedEmbeddingMethod):
            self._time(kind, "process_weights_after_loading")
        materialize = layerwise.materialize_layer

        def touched(layer: torch.nn.Module, info: Any) -> None:
            materialize(layer, info)
            for tensor in layerwise.get_layer_tensors(layer).values():
                torch.as_strided(tensor, (-(-tensor.nbytes // PAGE),), (PAGE // tensor.element_size(),)).fill_(0)

        layerwise.materialize_layer = touched
        for name in ("get_numel_loaded", "materialize_layer", "_copy_and_restore_kernel_tensors"):
            self._time(layerwise, name)
        for name in ("initialize_layerwise_reload", "finalize_layerwise_reload"):
            self._time(transport, name)

    def _time(self, where: Any, name: str) -> None:
        original = getattr(where, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self._counted():
                return original(*arguments, **named)

        setattr(where, name, timed)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        start, self._depth = time.perf_counter(), self._depth + 1
        yield
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - start

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


def rank(directory: Path, fp8: str | None, repeats: int) -> dict[str, Any]:
    """What one rank measures: medians over the repeats, after a swap that does not count."""
    layout = Layout(expert=ranks.size() if ranks.size() > 1 else int(os.environ["WORLD_SIZE"]))
    initialize(layout, seed=0)
    policy = Policy.from_hf(directory, layout, dtype=torch.bfloat16, optimizer=None)
    wire = WireSettings(FORMATS[fp8] if fp8 else None)
    swap = open_swap(policy, Manifest.from_checkpoint(directory), SwapSettings(wire=wire, per_node=8))
    engine = Engine(directory, dtype="bfloat16", max_model_len=CONTEXT, load_weights=False)
    own = Own()
    targets = {name: (tensor, torch.empty_like(tensor)) for name, tensor in policy.hf_weights()}
    placed = Placed({name: target for name, (_, target) in targets.items()})
    rows = []
    for step in range(repeats + 1):
        ranks.barrier()
        start = time.perf_counter()
        for source, target in targets.values():
            target.copy_(source)
        copied = time.perf_counter() - start
        ranks.barrier()
        alone = swap.push(placed, str(step)).seconds
        ranks.barrier()
        stats = swap.push(engine, str(step))
        post = own.take()
        start = time.perf_counter()
        probe(policy, engine, PROBE)
        probed = time.perf_counter() - start
        phases = dict(stats.phases) | {"post_process": post, "probe": probed, "load": stats.phases["engine"] - post}
        del phases["engine"]
        rows.append({"memcpy": copied, "in_place": alone, "swap": stats.seconds, **phases})
    found = {name: round(median(row.get(name, 0.0) for row in rows[1:]), 4) for name in rows[-1]}
    return {
        "megabytes": round(stats.bytes / 1e6, 1),
        "wire_megabytes": round(stats.received / 1e6, 1),
        "wire_ratio": round(stats.wire_ratio, 4),
        "over_memcpy": round(median(row["in_place"] / row["memcpy"] for row in rows[1:]), 2),
        "vllm_over_memcpy": round(median((row["swap"] - row["post_process"]) / row["memcpy"] for row in rows[1:]), 2),
        **found,
    }


def measure(case: str, directory: Path, repeats: int) -> dict[str, Any]:
    """Run `rank` on the ranks of a case; the slowest rank's figures."""
    count, fp8 = CASES[case]
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", "-m", "benchmarks.swap", "--rank", str(directory)]
    command += ["--repeats", str(repeats), *(["--fp8", fp8] if fp8 else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, env=environment, check=True, cwd=Path(__file__).resolve().parents[1])
    rows = [json.loads((directory / f"rank{number}.json").read_text()) for number in range(count)]
    return {"case": case, **max(rows, key=lambda row: row["swap"])}


def main() -> None:
    """Measure every size and case; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[256, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rank", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--fp8", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank:
        found = rank(asked.rank, asked.fp8, asked.repeats)
        (asked.rank / f"rank{ranks.rank()}.json").write_text(json.dumps(found))
        return
    console, rows = Console(width=180), []
    names = ("memcpy", "exchange", "quantise", "pack", "fingerprint", "assemble", "load", "post_process", "probe")
    table = Table("case", "MB", "on wire", *names, "swap", "in place", "over memcpy", "vLLM over memcpy", title=TITLE)
    for megabytes in asked.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder) / "model", megabytes)
            for case in CASES:
                row = measure(case, Path(folder) / "model", asked.repeats)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)  # a run of all sizes takes minutes
                shown = [f"{row.get(name, 0.0):.3f}" for name in (*names, "swap", "in_place")]
                sizes = (f"{row[name]:g}" for name in ("megabytes", "wire_megabytes"))
                ratios = (f"{row[name]:.2f}" for name in ("over_memcpy", "vllm_over_memcpy"))
                table.add_row(case, *sizes, *shown, *ratios)
    console.print(table)
    projection = project()
    console.print(projection.table)
    alone = [row for row in rows if row["case"] == "1 rank"][-1]
    fp8 = [row for row in rows if row["case"] == "2 ranks, fp8"][-1]
    phases = {
        row["case"]: {name: row.get(name, 0.0) for name in names}
        for row in rows
        if row["megabytes"] == alone["megabytes"]
    }
    print(json.dumps({
        "benchmark": "swap",
        "swap_over_memcpy": alone["over_memcpy"],
        "vllm_over_memcpy": alone["vllm_over_memcpy"],
        "fp8_wire_ratio": fp8["wire_ratio"],
        "phases": phases,
        "rows": rows,
        "projection": projection.rows,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
