"""What runs in the processes of the tests that vLLM's CPU backend needs its work-arounds: with each, and without."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pivot.rollout import prepare_environment

prepare_environment()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot.rollout import cpu  # noqa: E402
from tests.parity.swap_workers import message  # noqa: E402

EXPERTS, OWN, TOP = 8, 4, 2
HIDDEN, INNER, TOKENS = 64, 32, 16


def experts() -> dict[str, Any]:
    """Whether a rank's share of a layer's output is right; the rank holds the second half of the experts."""
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts

    torch.manual_seed(0)
    up, down = torch.randn(EXPERTS, 2 * INNER, HIDDEN) / 8, torch.randn(EXPERTS, HIDDEN, INNER) / 8
    hidden, weights = torch.randn(TOKENS, HIDDEN), torch.rand(TOKENS, TOP)
    ids = torch.stack([torch.randperm(EXPERTS)[:TOP] for _ in range(TOKENS)]).int()
    owned = torch.tensor([-1] * OWN + list(range(EXPERTS - OWN)), dtype=torch.int32)
    layer = object.__new__(CPUUnquantizedExperts)
    layer.quant_config, layer._use_zentorch = SimpleNamespace(w1_bias=None, w2_bias=None), False
    packed = [_packed(matrix[OWN:].contiguous()) for matrix in (up, down)]
    wanted = _reference(hidden, up, down, weights * (ids >= OWN), ids)

    def right() -> bool:
        output = torch.empty_like(hidden)
        layer.apply(
            output=output, hidden_states=hidden, w1=packed[0], w2=packed[1], topk_weights=weights,
            topk_ids=ids, activation=SimpleNamespace(value="silu"), global_num_experts=EXPERTS, expert_map=owned,
            a1q_scale=None, a2_scale=None, workspace13=output, workspace2=output, expert_tokens_meta=None,
            apply_router_weight_on_input=False,
        )  # fmt: skip
        return bool((output - wanted).abs().max() < 1e-5)

    child = os.fork()  # for it may not live to say so
    if not child:
        os._exit(0 if right() else 1)
    _, without = os.waitpid(child, 0)
    cpu._skip_experts_of_other_ranks()
    return {"without": without == 0, "with": right()}


def _packed(weights: Tensor) -> Tensor:
    from vllm._custom_ops import cpu_prepack_moe_weight

    return cpu_prepack_moe_weight(weights, "vec")


def _reference(hidden: Tensor, up: Tensor, down: Tensor, weights: Tensor, ids: Tensor) -> Tensor:
    output = torch.zeros_like(hidden)
    for token in range(len(hidden)):
        for weight, expert in zip(weights[token], ids[token].tolist(), strict=True):
            gate, value = (up[expert] @ hidden[token]).chunk(2)
            output[token] += weight * (down[expert] @ (F.silu(gate) * value))
    return output


def shared_memory() -> dict[str, Any] | None:
    """The shared memory of tensor parallel ranks, where an earlier run was killed: as vLLM makes it, and as here.

    None: vLLM has none on this CPU.
    """
    import vllm._custom_ops  # noqa: F401  (it loads the operators)
    from vllm.distributed.device_communicators.cpu_communicator import _CPUSHMDistributed

    if not hasattr(torch.ops._C, "init_shm_manager"):
        return None
    dist.init_process_group("gloo")
    os.environ["VLLM_DIST_IDENT"] = f"test-{os.environ['MASTER_PORT']}"  # of a run it is always the same
    ranks = list(range(dist.get_world_size()))
    asked = SimpleNamespace(
        unique_name="tp:0", ranks=ranks, rank=dist.get_rank(), world_size=len(ranks), device_group=dist.group.WORLD
    )
    leftovers = _files()
    _CPUSHMDistributed(asked)  # type: ignore[arg-type]  # of a run that a kill ends here
    left = sorted(set(_files()) - set(leftovers))
    said = message(lambda: _CPUSHMDistributed(asked))  # type: ignore[arg-type, return-value]
    dist.barrier()
    cpu._own_shared_memory()
    sums = []
    for _ in range(2):
        value = torch.full((64,), float(dist.get_rank() + 1))
        _CPUSHMDistributed(asked).all_reduce(value)  # type: ignore[arg-type]
        sums.append(value.unique().tolist())
    dist.barrier()
    after = sorted(set(_files()) - set(leftovers))
    dist.barrier()
    for name in left if dist.get_rank() == 0 else ():
        Path("/dev/shm", name).unlink()
    return {"left": left, "next run": said, "sums": sums, "left now": sorted(set(after) - set(left))}


def _files() -> list[str]:
    return [path.name for path in Path("/dev/shm").glob("*cpushm*")]
