"""How far the trainer is from the engine with router replay and without, on the same samples.

python -m benchmarks.router_replay [--candidates 64] [--group 4]

On one rank: the engine samples, the policy scores what was sampled, both with the checkpoint's weights, in bfloat16 and
float32. Once with the embedded world's tiny MoE, once with random weights in its shape, whose experts are nearly level
and whose outputs are not settled. The last line is JSON.
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
from pivot.world.tiny_moe import write_random_checkpoint  # noqa: E402

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
    """|trainer - engine| over all sampled tokens."""
    scored = policy.logprobs([[group] for group in groups])
    delta = torch.cat([logprobs for logprobs, _ in scored]) - engine
    gap = delta.abs()
    return {
        "mean": float(gap.mean()),
        "p99": float(gap.quantile(0.99)),
        "max": float(gap.max()),
        "kl": float((torch.expm1(delta) - delta).mean()),
    }


def compare(model: Path, dtype: str, count: int, size: int) -> dict[str, Any]:
    """Both ways with one model in one precision."""
    policy = Policy.from_hf(model, Layout(), dtype=getattr(torch, dtype), optimizer=None, router_replay=True)
    engine = Engine(model, dtype=dtype, max_model_len=LENGTH, max_num_seqs=128, kv_cache_bytes=256 << 20, routes=True)
    asked = prompts(engine, count)
    drawn = engine.sample(asked, [1000 * i for i in range(len(asked))], size, SAMPLING)
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
    table = Table("weights", "precision", "experts of", "tokens", "mean", "99 %", "max", "KL")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_random_checkpoint(Path(folder), 0)
        for name, model in (("tiny MoE", CHECKPOINT), ("random", Path(folder))):
            for dtype in ("bfloat16", "float32"):
                found = results[f"{name}, {dtype}"] = compare(model, dtype, arguments.candidates, arguments.group)
                for way, label in (("own", "trainer"), ("replay", "engine")):
                    numbers = (f"{found[way][key]:.1e}" for key in ("mean", "p99", "max", "kl"))
                    table.add_row(name, dtype, label, str(found["tokens"]), *numbers)
    Console().print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
