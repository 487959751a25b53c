"""How far the trainer is from the engine with router replay and without, on the same samples.

python -m benchmarks.router_replay [--candidates 64] [--group 4]

The embedded world's tiny MoE on one rank: the engine samples, the policy scores what was sampled, both with the
checkpoint's weights. Once in bfloat16, once in float32. The last line is JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pivot.rollout import Engine, Sampling, prepare_environment

prepare_environment()

import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot.demo.run import CHECKPOINT  # noqa: E402
from pivot.layout import Layout  # noqa: E402
from pivot.mine.turns import encode, read_candidates  # noqa: E402
from pivot.policy import PackedGroup, Policy, initialize  # noqa: E402
from pivot.prompt import PromptEncoder  # noqa: E402
from pivot.train.replay import pack_routes  # noqa: E402
from pivot.trajectory.convert import convert  # noqa: E402
from pivot.world.corpus import write_trajectories  # noqa: E402
from pivot.world.expert import expert_trajectories  # noqa: E402

LENGTH = 768
SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=64)


def prompts(engine: Engine, count: int) -> list[list[int]]:
    """Histories of the embedded world's expert trajectories."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        write_trajectories(expert_trajectories(count, 0, "train"), directory / "train.jsonl")
        convert([directory / "train.jsonl"], directory)
        candidates = read_candidates(str(directory / "candidates.jsonl"), count)
    encoder = PromptEncoder(engine.tokenizer)
    turns = encode(candidates, encoder, encoder.room(LENGTH, SAMPLING.max_tokens)).turns
    return [list(turn.prompt) for turn in turns]


def gaps(policy: Policy, groups: list[PackedGroup], engine: Tensor) -> dict[str, float]:
    """|trainer - engine| and the ratio of both over all sampled tokens."""
    scored = policy.logprobs([[group] for group in groups])
    delta = torch.cat([logprobs for logprobs, _ in scored]) - engine
    gap, ratio = delta.abs(), delta.exp()
    return {
        "mean": float(gap.mean()),
        "p99": float(gap.quantile(0.99)),
        "max": float(gap.max()),
        "kl": float((torch.expm1(delta) - delta).mean()),
        "outside": float(((ratio > 1.25) | (ratio < 0.8)).float().mean()),
    }


def compare(dtype: str, count: int, size: int) -> dict[str, Any]:
    """Both ways in one precision."""
    engine = Engine(
        CHECKPOINT, dtype=dtype, max_model_len=LENGTH, max_num_seqs=128, kv_cache_bytes=256 << 20, routes=True
    )
    asked = prompts(engine, count)
    drawn = engine.sample(asked, [1000 * i for i in range(len(asked))], size, SAMPLING)
    policy = Policy.from_hf(
        CHECKPOINT, Layout(), dtype=getattr(torch, dtype), optimizer=None, router_replay=True
    )  # fmt: skip
    ways: dict[str, list[PackedGroup]] = {"replay": [], "own": []}
    for prompt, group in zip(asked, drawn, strict=True):
        actions = tuple(torch.tensor(one.token_ids) for one in group)
        ways["replay"].append(PackedGroup(torch.tensor(prompt), actions, pack_routes(group)))
        ways["own"].append(PackedGroup(torch.tensor(prompt), actions))
    said = torch.tensor([logprob for group in drawn for one in group for logprob in one.logprobs])
    engine.close()
    return {name: gaps(policy, groups, said) for name, groups in ways.items()} | {"tokens": said.numel()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--group", type=int, default=4)
    arguments = parser.parse_args()
    initialize(Layout(), seed=0)
    results = {dtype: compare(dtype, arguments.candidates, arguments.group) for dtype in ("bfloat16", "float32")}
    table = Table("precision", "experts", "mean gap", "99 %", "max", "KL", "ratio outside 0.8..1.25")
    for dtype, result in results.items():
        for way, label in (("own", "the trainer's"), ("replay", "the engine's")):
            row = result[way]
            table.add_row(
                dtype, label, *(f"{row[key]:.2e}" for key in ("mean", "p99", "max", "kl")), f"{row['outside']:.2%}"
            )
    console = Console()
    console.print(table)
    console.print(f"{results['bfloat16']['tokens']} and {results['float32']['tokens']} sampled tokens")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
