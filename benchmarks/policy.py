"""The policy's training speed against plain Hugging Face on the same sequences, and what dominates it.

python -m benchmarks.policy [--sequences 16] [--repeat 5]

One rank, float32, the embedded world's tiny MoE; sequences of 200 to 640 random tokens, padded to
one batch for transformers and packed for the policy. Both sides score the same tokens, forward and backward, and take
turns. The last line is JSON.
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
from torch.profiler import ProfilerActivity, profile

from pivot.demo.run import CHECKPOINT
from pivot.layout import Layout
from pivot.policy import OptimizerSettings, PackedGroup, Policy, initialize


def draw(count: int) -> list[Tensor]:
    """Sequences from 200 to 640 tokens."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(200, 640, (count,), generator=generator).tolist()
    return [torch.randint(0, 1024, (length,), generator=generator) for length in lengths]


def hugging_face(model: Any, sequences: list[Tensor]) -> Callable[[], Tensor]:
    """One padded batch through transformers; the loss is minus the mean logprob of all tokens but the first."""
    longest = max(map(len, sequences))
    ids = torch.stack([torch.nn.functional.pad(tokens, (0, longest - len(tokens))) for tokens in sequences])
    mask = torch.stack([torch.arange(longest) < len(tokens) for tokens in sequences])

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        logits = model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
        scores = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None])[..., 0]
        loss = -(scores * mask[:, 1:]).sum() / mask[:, 1:].sum()
        loss.backward()
        return loss.detach()

    return run


def megatron(policy: Policy, sequences: list[Tensor]) -> Callable[[], Tensor]:
    """The same through the policy, packed."""
    batch = [PackedGroup.sequence(tokens, 1) for tokens in sequences]

    def loss(_: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = -logprobs.mean()
        return value, {"loss": value}

    return lambda: policy.forward_backward([batch], loss)[0]["loss"]


def dominating(run: Callable[[], Tensor]) -> list[tuple[str, float]]:
    """The operators that take most of the time of a call, with their share."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run()
    events = sorted(seen.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return [(event.key, event.self_cpu_time_total / total) for event in events[:8]]


def main() -> None:
    """Print the table and, as the last line, the ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=5)
    asked = parser.parse_args()
    initialize(Layout(), seed=0)
    policy = Policy.from_hf(CHECKPOINT, Layout(), optimizer=OptimizerSettings(), freeze_router=False)
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32)
    sequences = draw(asked.sequences)
    sides = {"policy": megatron(policy, sequences), "hugging_face": hugging_face(model, sequences)}
    losses = {name: float(run()) for name, run in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(asked.repeat):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    speed = {name: sum(map(len, sequences)) / statistics.median(runs) for name, runs in seconds.items()}
    share = dominating(sides["policy"])
    table = Table(title="Forward + backward, tokens/s that count (padding does not)")
    for column in ("side", "tokens/s", "loss"):
        table.add_column(column, justify="right")
    for name in sides:
        table.add_row(name, f"{speed[name]:,.0f}", f"{losses[name]:.6f}")
    console = Console(soft_wrap=True)
    console.print(table)
    console.print("the policy's time: " + ", ".join(f"{name} {part:.0%}" for name, part in share))
    print(json.dumps({"policy_over_hugging_face": round(speed["policy"] / speed["hugging_face"], 2),
                      "loss_difference": abs(losses["policy"] - losses["hugging_face"]),
                      "dominating": {name: round(part, 3) for name, part in share}}))  # fmt: skip


if __name__ == "__main__":
    main()
