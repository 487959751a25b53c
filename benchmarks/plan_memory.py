"""What a plan says of the demo's memory against what two ranks on a CPU really hold.

OMP_NUM_THREADS=1 python -m torch.distributed.run --nproc-per-node 2 -m benchmarks.plan_memory

Policy, engine, KV cache and swap buffers are those that `pivot demo` builds; activations are what autograd keeps of a
forward pass over one pack, each storage once. Rank 0 prints a table; the last line is JSON.
"""

import json
from dataclasses import replace
from typing import Any

from pivot.rollout import prepare_environment

prepare_environment()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from psutil import Process  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from pivot import ranks  # noqa: E402
from pivot.config import load  # noqa: E402
from pivot.engines import open_engine  # noqa: E402
from pivot.layout import layout  # noqa: E402
from pivot.ops.plan import engine as planned_engine  # noqa: E402
from pivot.ops.plan.job import job  # noqa: E402
from pivot.ops.plan.memory import of_stage  # noqa: E402
from pivot.ops.plan.policy import layer_elements  # noqa: E402
from pivot.policy import PackedGroup, Policy, initialize  # noqa: E402
from pivot.policy.storages import total_bytes  # noqa: E402
from pivot.swap import Manifest, open_swap  # noqa: E402
from pivot.swap.buckets import BucketSwap, SwapSettings  # noqa: E402
from pivot.train.assemble import optimizer  # noqa: E402

HISTORY, ACTION, GROUP = 448, 64, 8


def groups() -> list[PackedGroup]:
    """One pack of 952 rows."""
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randint(3, 1000, (n,), generator=generator) for n in (HISTORY, *[ACTION + 1] * GROUP)]
    return [PackedGroup(draw[0], tuple(draw[1:]))]


def kept(policy: Policy) -> int:
    """Bytes that autograd keeps of a forward pass over one pack, weights aside."""
    weights = {storage._cdata for storage in policy.storages().parameters}
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            seen[storage._cdata] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []  # so that no storage's identity is given to another
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        policy.forward_backward([groups()], lambda index, logprobs, entropy: (-logprobs.mean(), {}))
    policy.optimizer_step(1e-6)
    return sum(seen.values())


def cache_bytes(engine: Any) -> int:
    """Bytes of the engine's KV cache."""
    runner = engine._llm.llm_engine.model_executor.driver_worker.worker.model_runner
    found = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in runner.kv_caches}
    return sum(found.values())


def parameter_bytes(engine: Any) -> int:
    """Bytes of the engine's parameters."""
    [found] = engine._llm.apply_model(lambda model: sum(p.numel() * p.element_size() for p in model.parameters()))
    return int(found)


def main() -> None:
    config = load("demo", [])
    asked = job(config)
    initialize(layout(config.parallel), 0)
    policy = Policy.from_hf(config.model.path, layout(config.parallel), optimizer=optimizer(config))
    reference = Policy.from_hf(config.model.path, layout(config.parallel), optimizer=None)
    activations = kept(policy)
    held = policy.storages()
    rollout = config.rollout
    engine = open_engine(config.model.path, config.model.dtype, rollout, load_weights=False)
    swap = open_swap(
        policy, Manifest.from_checkpoint(config.model.path),
        SwapSettings(config.swap.bucket_mb << 20, per_node=2), 1, False, 0,
    )  # fmt: skip
    assert isinstance(swap, BucketSwap)
    plan = of_stage(asked, 0)
    tokens = HISTORY + GROUP * ACTION
    pack = replace(asked, training=replace(asked.training, budget=tokens), engines=replace(asked.engines, context=1))
    counted = sum(4 * layer_elements(pack, layer, tokens) for layer in asked.model.layers)
    rows = {
        "weights": (plan.parts["weights"][0], total_bytes(held.parameters)),
        "start policy": (plan.parts["start policy"][0], total_bytes(reference.storages().parameters)),
        "gradients": (plan.parts["gradients"][0], total_bytes(held.gradients)),
        "optimizer": (plan.parts["optimizer"][0], total_bytes(held.optimizer)),
        "engine weights": (4 * planned_engine.weight_elements(asked), parameter_bytes(engine)),
        "KV cache": (plan.parts["KV cache"][0], cache_bytes(engine)),
        "swap buffers": (plan.parts["swap buffers"][0], swap._buffers.nbytes),
        "activations": (int(counted), activations),
    }
    # what is resident beside all that, activations being gone
    resident = Process().memory_info().rss - sum(found for name, (_, found) in rows.items() if name != "activations")
    show(rows | {"context": (asked.device.context, resident)})
    engine.close()
    dist.barrier()


def show(rows: dict[str, tuple[int, int]]) -> None:
    """From rank 0."""
    if ranks.rank():
        return
    table = Table("part", "planned MiB", "held MiB", "error", title="The demo on a CPU, rank 0 of 2")
    for name, (said, found) in rows.items():
        table.add_row(name, f"{said / 2**20:.3f}", f"{found / 2**20:.3f}", f"{said / found - 1:+.1%}")
    Console().print(table)
    print(json.dumps({name: {"planned": said, "held": found} for name, (said, found) in rows.items()}))


if __name__ == "__main__":
    main()
