"""What runs on the ranks of the parity tests. Every function returns plain tensors and numbers."""

from __future__ import annotations

import collections
import hashlib
import random
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pivot.layout import Layout
from pivot.policy import (
    OptimizerSettings,
    PackedGroup,
    Policy,
    data_parallel_rank,
    data_parallel_size,
    hf,
    initialize,
)
from pivot.policy.hf import local_parameters
from tests.parity.conftest import loss_weights

Samples = list[list[tuple[Tensor, int]]]
LR = 1e-3


def build(path: Path, layout: Layout, **options: Any) -> Policy:
    initialize(layout, seed=5)
    options.setdefault("optimizer", OptimizerSettings(weight_decay=0.01))
    return Policy.from_hf(path, layout, **options)


def share(samples: Samples) -> tuple[list[int], list[list[PackedGroup]]]:
    """This data-parallel rank's micro-batches and their numbers in the whole batch."""
    mine = list(range(data_parallel_rank(), len(samples), data_parallel_size()))
    return mine, [[PackedGroup.sequence(tokens, prompt) for tokens, prompt in samples[i]] for i in mine]


def gradient(policy: Policy, samples: Samples) -> list[dict[str, Tensor]]:
    """The weighted loss of conftest, backward, on this rank's share."""
    mine, batches = share(samples)

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        weight = loss_weights(logprobs.numel(), mine[index])
        value = -(weight * logprobs).sum() + 0.1 * (weight * entropy).sum()
        return value, {"loss": value, "index": torch.tensor(mine[index])}

    return policy.forward_backward(batches, loss)


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def replica_mismatches(policy: Policy) -> list[str]:
    """Parameters that two ranks hold in the same place but with other bits."""
    mine: dict[Any, str] = {}
    from megatron.core import parallel_state as ps

    for place, parameter in local_parameters(policy._models, policy._family.shape):
        cut = bool(getattr(parameter, "tensor_model_parallel", False))
        expert = place.expert is not None
        rank = ps.get_expert_tensor_parallel_rank() if expert else ps.get_tensor_model_parallel_rank()
        mine[(place.names, rank if cut else 0)] = digest(parameter)
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    seen: dict[Any, str] = {}
    wrong = []
    for held in everyone:
        for key, value in held.items():
            if seen.setdefault(key, value) != value:
                wrong.append(str(key))
    return wrong


def scores(policy: Policy, samples: Samples, temperature: float) -> tuple[Tensor, Tensor]:
    """Logprobs and entropies of the whole batch in order, gathered over data-parallel ranks."""
    mine, batches = share(samples)
    found = dict(zip(mine, policy.logprobs(batches, temperature=temperature), strict=True))
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, found)
    whole = {index: pair for held in everyone for index, pair in held.items()}
    logprobs, entropy = zip(*(whole[i] for i in range(len(samples))), strict=True)
    return torch.cat(logprobs), torch.cat(entropy)


def train(policy: Policy, samples: Samples, steps: int) -> list[float]:
    """Supervised steps on the whole batch, each rank's share in one micro-batch; its loss at each step."""
    batch = [sample for batch in share(samples)[1] for sample in batch]
    scored = sum(tokens.numel() - prompt for batch in samples for tokens, prompt in batch)

    def loss(_: int, logprobs: Tensor, __: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        value = -logprobs.sum() / scored
        return value, {"loss": value}

    curve = []
    for _ in range(steps):
        (metrics,) = policy.forward_backward([batch], loss)
        policy.optimizer_step(LR)
        curve.append(float(metrics["loss"]))
    return curve


def compare_layouts(
    path: Path, samples: Samples, cases: list[tuple[Layout, dict[str, Any]]], steps: int = 0
) -> list[dict[str, Any]]:
    """Scores, gradients, a step, replicas, and ``steps`` further steps of every case on this world."""
    results = []
    for layout, options in cases:
        policy = build(path, layout, **options)
        result: dict[str, Any] = {"weights": dict(policy.hf_weights())}
        result["scores"] = {t: scores(policy, samples, t) for t in (1.0, 0.7)}
        result["metrics"] = gradient(policy, samples)
        result["gradients"] = dict(policy.hf_gradients())
        result["norm"] = policy.optimizer_step(LR)
        result["stepped"] = dict(policy.hf_weights())
        result["curve"] = {data_parallel_rank(): train(policy, samples, steps)}
        result["mismatches"] = replica_mismatches(policy)
        results.append(result)
    return results


def compare_models(
    models: dict[str, tuple[Path, Samples, list[tuple[Layout, dict[str, Any]]], int]],
    balanced: list[Layout],
    large: Path,
    streamed: list[Layout],
) -> dict[str, Any]:
    """``compare_layouts`` of several checkpoints, ``balance_layouts`` of one, and ``stream_layouts`` of a large one."""
    path, samples, *_ = models["moe"]
    return {
        "balanced": balance_layouts(path, samples, balanced),
        "models": {name: compare_layouts(*arguments) for name, arguments in models.items()},
        "streamed": stream_layouts(large, streamed),
    }


def balance_layouts(path: Path, samples: Samples, layouts: list[Layout]) -> list[dict[str, Any]]:
    """The gradient of the load-balancing loss alone, in each layout and with each kind of recomputation."""
    results = []
    for layout, recompute in [*((layout, None) for layout in layouts), (layouts[-1], "full")]:
        policy = build(path, layout, freeze_router=False, router_aux_loss=0.5, recompute=recompute)
        policy.forward_backward(share(samples)[1], lambda _, logprobs, __: (0.0 * logprobs.sum(), {}))
        results.append(dict(policy.hf_gradients()))
    return results


class LiveBytes(TorchDispatchMode):
    """Bytes of tensors made inside it that are still alive, and the most there were.

    Tensors read from a safetensors file count with the size of the whole tensor, whatever slice was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # arguments too: a file's tensor is not made by an operation
        for tensor in tree_leaves((result, args)):
            if isinstance(tensor, Tensor) and not isinstance(tensor, torch.nn.Parameter):
                self._see(tensor.untyped_storage())
        return result

    def ignore(self, tensor: Tensor) -> None:
        """Leaves out a tensor that was there before."""
        self._known.add(tensor.untyped_storage().data_ptr())

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self._known or not size:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def stream_layouts(path: Path, layouts: list[Layout]) -> list[dict[str, Any]]:
    """Loads and exports a checkpoint in each layout; the most bytes there were beside this rank's parameters."""
    found = []
    for layout in layouts:
        policy = build(path, layout, optimizer=None)
        chunks, shape = policy._models, policy._family.shape
        parameters = [parameter for _, parameter in local_parameters(chunks, shape)]
        own = sum(parameter.nbytes for parameter in parameters)
        used = {}
        for name in ("load", "export"):
            meter = LiveBytes()
            for parameter in parameters:
                meter.ignore(parameter)
            with meter:
                if name == "load":
                    hf.load(path, chunks, shape)
                else:
                    collections.deque(hf.export(chunks, shape, torch.float32), maxlen=0)
            used[name] = meter.most
        found.append({"own": own, "digests": {name: digest(t) for name, t in policy.hf_weights()}, **used})
    return found


def single_rank(path: Path, samples: Samples, out: Path) -> dict[str, Any]:
    """Cutting into micro-batches, repeating, bf16, freezing and Hugging Face files, on one rank."""
    result: dict[str, Any] = {}
    layout = Layout()
    policy = build(path, layout, freeze_router=False)

    def run(batches: list[list[PackedGroup]]) -> dict[str, Tensor]:
        def loss(_: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return -(logprobs.sum() + 0.1 * entropy.sum()) / 100, {}

        policy.forward_backward(batches, loss)
        return {name: tensor.clone() for name, tensor in policy.hf_gradients()}

    flat = [PackedGroup.sequence(tokens, prompt) for batch in samples for tokens, prompt in batch]
    result["one"] = run([flat])
    result["again"] = run([flat])
    result["many"] = run([[sample] for sample in flat])
    result["empty"] = run([[], flat[:3], [], flat[3:]])
    policy.save_hf(out / "same", path)
    for recompute in ("selective", "full"):
        policy = build(path, layout, freeze_router=False, recompute=recompute)
        result[recompute] = run([flat])
    frozen = build(path, layout)
    gradient(frozen, samples)
    result["frozen"] = dict(frozen.hf_gradients())
    gradient(frozen, samples)
    frozen.optimizer_step(LR)
    frozen.save_hf(out / "stepped", path)
    result["stepped_scores"] = scores(frozen, samples, 1.0)[0]
    half = build(path, layout, dtype=torch.bfloat16)
    gradient(half, samples)
    result["bf16_norm"] = half.optimizer_step(LR)
    result["bf16"] = dict(half.hf_weights())
    half.save_hf(out / "bf16", path)
    result["from_bf16"] = dict(build(out / "bf16", layout, optimizer=None).hf_weights())
    return result


def refuse_uneven(path: Path, samples: Samples) -> str:
    """The message of the error when data-parallel ranks bring different numbers of micro-batches."""
    policy = build(path, Layout())
    count = 1 + data_parallel_rank()
    batches = [[PackedGroup.sequence(tokens, prompt) for tokens, prompt in batch] for batch in samples[:count]]
    try:
        policy.logprobs(batches)
    except ValueError as error:
        return str(error)
    return "no error"


def _random_step(policy: Policy, samples: Samples) -> dict[str, Any]:
    """A step after drawing from every random state of this rank; rank 0's draws set the learning rate."""
    drawn = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    box = [drawn]
    dist.broadcast_object_list(box, src=0)
    gradient(policy, samples)
    norm = policy.optimizer_step(LR * (1 + 0.1 * sum(box[0])))
    weights = {name: tensor.clone() for name, tensor in policy.hf_weights()}
    return {"drawn": drawn, "norm": norm, "weights": weights}


def save_and_go_on(
    path: Path, samples: Samples, layout: Layout, folder: Path, options: dict[str, Any]
) -> dict[str, Any]:
    """Saves before the first step and after two, then takes two more."""
    policy = build(path, layout, **options)
    policy.save(folder / "start", {"step": 0})
    random.seed(dist.get_rank())
    np.random.seed(dist.get_rank() + 10)
    torch.manual_seed(dist.get_rank() + 20)
    for _ in range(2):
        _random_step(policy, samples)
    policy.save(folder / "two", {"step": 2, "note": "ö"})
    saved = {name: tensor.clone() for name, tensor in policy.hf_weights()}
    return {"saved": saved, "next": [_random_step(policy, samples) for _ in range(2)]}


def load_and_go_on(
    path: Path, samples: Samples, layouts: list[Layout], folder: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    """Loads the second checkpoint in each layout and takes two steps."""
    results = []
    for layout in layouts:
        policy = build(path, layout, **options)
        extra = policy.load(folder / "two")
        loaded = {name: tensor.clone() for name, tensor in policy.hf_weights()}
        results.append({"extra": extra, "loaded": loaded, "next": [_random_step(policy, samples) for _ in range(2)]})
    return results


def resharded_step(path: Path, samples: Samples, layout: Layout, folder: Path) -> dict[str, Any]:
    """Loads the second checkpoint and takes a step that draws nothing; weights and warnings."""
    policy = build(path, layout)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        policy.load(folder / "two")
    gradient(policy, samples)
    policy.optimizer_step(LR)
    texts = [str(w.message) for w in caught if "random states" in str(w.message)]
    return {"weights": dict(policy.hf_weights()), "warnings": texts}


def load_damaged(path: Path, folder: Path) -> dict[str, Any]:
    """Tries every checkpoint in ``folder``, the good one last: reasons, and what each kind touched."""
    from pivot.policy import CheckpointError

    policy = build(path, Layout())

    def state() -> dict[str, str]:
        return {name: digest(tensor) for name, tensor in policy.hf_weights()}

    before = after_damaged = state()
    reasons = {}
    for name in sorted(p.name for p in folder.iterdir()):
        try:
            policy.load(folder / name)
            reasons[name] = "loaded"
        except CheckpointError as error:
            reasons[name] = str(error)
            after_damaged = state()
    touched = {"touched_by_damaged": before != after_damaged, "touched_by_good": before != state()}
    return {"reasons": reasons, **touched}
