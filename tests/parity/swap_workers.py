"""What runs in the processes of the rollout and swap tests: engines, and Hugging Face models in place of
policies.

A vLLM engine reshapes its whole process, so no test holds one in pytest's own.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pivot.errors import UserError
from pivot.rollout import Completion, Sampling, prepare_environment

prepare_environment()

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from torch import Tensor  # noqa: E402

from pivot.rollout import Engine  # noqa: E402
from pivot.swap import Manifest, SwapError, probe, push  # noqa: E402
from tests.parity.swap_checkpoint import EOS, VOCAB  # noqa: E402

CONTEXT = 384
HOT = Sampling(temperature=0.8, top_p=1.0, max_tokens=24)
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)


def prompts(count: int, length: int = 20) -> list[list[int]]:
    """Random prompts of `length` to `length` + 6 tokens, without special ones."""
    generator = torch.Generator().manual_seed(count + 1000 * length)
    return [torch.randint(3, VOCAB, (length + i % 7,), generator=generator).tolist() for i in range(count)]


class HfPolicy:
    """A Hugging Face model with the two methods of a policy that swapping uses."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM

        self.model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self.model.state_dict().items():
            prefix, _, last = name.rpartition(".")
            if last == "gate_up_proj":
                for expert, fused in enumerate(tensor):
                    gate, up = fused.chunk(2)
                    yield f"{prefix}.{expert}.gate_proj.weight", gate
                    yield f"{prefix}.{expert}.up_proj.weight", up
            elif last == "down_proj":
                for expert, down in enumerate(tensor):
                    yield f"{prefix}.{expert}.down_proj.weight", down
            else:
                yield name, tensor

    def logprobs(self, micro_batches: Any, *, temperature: float = 1.0) -> list[tuple[Tensor, Tensor]]:
        done = []
        for batch in micro_batches:
            parts = [self.score([*s.history.tolist(), *s.actions[0].tolist()], temperature)[-s.scored :] for s in batch]
            done.append((torch.cat(parts), torch.zeros(0)))
        return done

    @torch.no_grad()
    def score(self, tokens: Sequence[int], temperature: float = 1.0) -> Tensor:
        ids = torch.tensor(tokens)
        logits = self.model(ids[None]).logits[0, :-1] / temperature
        return torch.log_softmax(logits, -1).gather(-1, ids[1:, None])[:, 0]

    @torch.no_grad()
    def move(self, seed: int) -> None:
        """An update of every weight, as large as a reckless optimizer's."""
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))


def gap(policy: HfPolicy, prompt: list[int], drawn: Sequence[Completion], temperature: float) -> float:
    """Largest difference of the engine's logprobs of `drawn` to the policy's."""
    return max(
        (policy.score([*prompt, *c.token_ids], temperature)[len(prompt) - 1 :] - torch.tensor(c.logprobs))
        .abs()
        .max()
        .item()
        for c in drawn
    )


def message(call: Any) -> str:
    """The text of the error that `call` must raise."""
    try:
        call()
    except (SwapError, UserError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def process_state() -> dict[str, Any]:
    """What an engine must leave as the trainer had it. VLLM_* variables are the engine's own."""
    return {
        "python": hash(random.getstate()),
        "numpy": hash(np.random.get_state()[1].tobytes()),  # type: ignore[union-attr]
        "torch": hash(torch.get_rng_state().numpy().tobytes()),
        "threads": torch.get_num_threads(),
        "set_num_threads": id(torch.set_num_threads),
        "affinity": sorted(os.sched_getaffinity(0)),
        "dtype": str(torch.get_default_dtype()),
        "grad": torch.is_grad_enabled(),
        "environment": {k: v for k, v in os.environ.items() if not k.startswith("VLLM_")},
    }


def sampling(path: Path) -> dict[str, Any]:
    """One engine, never updated: what it draws and scores, and what it leaves behind."""
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    before = process_state()
    engine, policy = Engine(path, max_model_len=CONTEXT), HfPolicy(path)
    asked, seeds = prompts(6), [100 * i for i in range(6)]
    calls: list[tuple[int, int]] = []
    drawn = engine.sample(asked, seeds, 4, HOT, lambda done, tokens: calls.append((done, tokens)))
    sequences = [[*p, *c.token_ids] for p, group in zip(asked, drawn, strict=True) for c in group]
    scores = engine.score(sequences)
    result: dict[str, Any] = {
        "drawn": drawn,
        "calls": calls,
        "gap": max(gap(policy, p, group, 0.8) for p, group in zip(asked, drawn, strict=True)),
        "score gap": max(
            (policy.score(s) - torch.tensor(x)).abs().max().item() for s, x in zip(sequences, scores, strict=True)
        ),
        "score lengths": [len(x) - len(s) for s, x in zip(sequences, scores, strict=True)],
        "after": process_state(),
        "before": before,
    }
    result["alone"] = [
        [engine.sample([p], [s + i], 1, HOT)[0][0] for i in range(4)] for p, s in zip(asked, seeds, strict=True)
    ]
    result["reversed"] = engine.sample(asked[::-1], seeds[::-1], 4, HOT)[::-1]
    result["warm"] = engine.sample(asked, seeds, 1, GREEDY), engine.sample(asked, seeds, 1, GREEDY)

    result["crowded"] = _crowded(path, engine)

    def stop(done: int, tokens: int) -> None:
        raise RuntimeError("interrupted")

    result["interrupted"] = message(lambda: engine.sample(prompts(9), [0] * 9, 2, HOT, stop))
    result["after interruption"] = engine.sample(asked, seeds, 4, HOT)
    looks = iter(range(100))
    result["given up"] = engine.sample(asked, seeds, 4, HOT, give_up=lambda: next(looks) == 3)
    result["looks"] = next(looks)
    result["after giving up"] = engine.sample(asked, seeds, 4, HOT)

    full = prompts(1, CONTEXT)[0][: CONTEXT - 1]
    result["last token"] = engine.sample([full], [0], 1, HOT)[0][0]
    result["too long"] = message(lambda: engine.sample([asked[0], [*full, 3]], [0, 0], 1, HOT))
    result["empty"] = message(lambda: engine.score([asked[0], []]))
    result["no prompts"] = engine.sample([], [], 4, HOT)
    engine.close()
    engine.close()
    result["closed"] = message(lambda: engine.score([asked[0]]))
    result["too small"] = message(lambda: Engine(path, max_model_len=CONTEXT, kv_cache_bytes=1 << 16))
    result["too far"] = message(lambda: Engine(path, max_model_len=4096))
    return result


def _crowded(path: Path, engine: Engine) -> dict[str, Any]:
    """Samples of an engine whose cache is so small that running sequences are thrown out and resumed."""
    from vllm.v1.core.sched.scheduler import Scheduler

    asked, seeds, thrown = prompts(6, 115), [100 * i for i in range(6)], []
    original = Scheduler._preempt_request

    def counted(self: Any, request: Any, *rest: Any, **named: Any) -> Any:
        thrown.append(request.request_id)
        return original(self, request, *rest, **named)

    Scheduler._preempt_request = counted
    # 1 MiB holds 512 tokens in 4 blocks of 128; every sequence grows from its first block into a second
    with Engine(path, max_model_len=CONTEXT, max_num_seqs=32, kv_cache_bytes=1 << 20) as small:
        drawn = small.sample(asked, seeds, 4, HOT)
    Scheduler._preempt_request = original
    return {"drawn": drawn, "preempted": len(thrown), "roomy": engine.sample(asked, seeds, 4, HOT)}


def swapping(path: Path, scratch: Path) -> dict[str, Any]:
    """One engine through many pushes, good and bad."""
    policy, manifest = HfPolicy(path), Manifest.from_checkpoint(path)
    engine = Engine(path, max_model_len=CONTEXT, load_weights=False)
    asked, long = prompts(6), prompts(1, 300)
    result: dict[str, Any] = {"unfilled": message(lambda: engine.score(asked))}

    # three updates, then the same weights by way of the disk
    stats = []
    for step in range(3):
        policy.move(step)
        stats.append(push(policy, engine, manifest, f"step {step}"))
        if step < 2:
            engine.sample(long, [0], 1, GREEDY)  # leaves the prompt's keys and values in the prefix cache
    result["stats"] = stats[-1]
    result["expected"] = (
        len(manifest.shapes),
        sum(4 * torch.Size(shape).numel() for shape in manifest.shapes.values()),
    )
    result["long gap"] = gap(policy, long[0], engine.sample(long, [0], 1, GREEDY)[0], 1.0)
    pushed = engine.sample(asked, [0] * 6, 1, GREEDY), engine.sample(asked, [5] * 6, 2, HOT)
    policy.model.save_pretrained(scratch)
    engine.tokenizer.save_pretrained(scratch)
    with Engine(scratch, max_model_len=CONTEXT) as fresh:
        result["fresh"] = fresh.sample(asked, [0] * 6, 1, GREEDY), fresh.sample(asked, [5] * 6, 2, HOT)
    result["pushed"] = pushed
    result["good probe"] = probe(policy, engine, asked)

    result |= _without_experts(policy, engine, manifest, asked)
    result["stop"] = _likely_stop(policy, engine, manifest, asked)

    # an update that breaks off leaves an engine that says so
    weights = [(n, t) for n, t in policy.hf_weights() if ".mlp.experts." not in n]
    result["no experts"] = message(lambda: push(_Listed(weights), engine, manifest, "broken"))
    result["broken"] = message(lambda: engine.sample(asked, [0] * 6, 1, HOT))
    result["broken push"] = message(lambda: push(policy, engine, manifest, "again"))

    # without a manifest in front, the engine itself insists on all its parameters
    with Engine(path, max_model_len=CONTEXT) as direct:
        result["direct"] = message(lambda: direct.update_weights(iter(weights), "direct"))
    return result


def _without_experts(policy: HfPolicy, engine: Engine, manifest: Manifest, asked: Any) -> dict[str, Any]:
    """Two ways in which new expert weights do not take effect, and what the probe says to each."""
    from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod

    stale = dict(policy.hf_weights())
    stale = {name: tensor.clone() for name, tensor in stale.items()}
    policy.move(10)
    mixed = [(n, stale[n] if ".mlp.experts." in n else t) for n, t in policy.hf_weights()]
    push(_Listed(mixed), engine, manifest, "stale experts")
    result: dict[str, Any] = {"stale experts": message(lambda: probe(policy, engine, asked).check(1e-3))}

    fixed = UnquantizedFusedMoEMethod._setup_kernel
    UnquantizedFusedMoEMethod._setup_kernel = fixed.__wrapped__  # vLLM's own: no packing on a reload
    try:
        push(policy, engine, manifest, "unpacked experts")
        result["unpacked experts"] = message(lambda: probe(policy, engine, asked).check(1e-3))
    finally:
        UnquantizedFusedMoEMethod._setup_kernel = fixed
    push(policy, engine, manifest, "good again")
    result["good again"] = message(lambda: probe(policy, engine, asked).check(1e-4))
    return result


def _likely_stop(policy: HfPolicy, engine: Engine, manifest: Manifest, asked: Any) -> list[Completion]:
    """Completions by weights that end a turn about every few tokens."""
    with torch.no_grad():
        policy.model.lm_head.weight[EOS] *= 4
    push(policy, engine, manifest, "stops")
    return [c for group in engine.sample(asked, [0] * 6, 8, HOT) for c in group]


def tied(path: Path) -> dict[str, Any]:
    """A head tied to the embedding follows a push, and what the probe says where it does not."""
    from pivot.rollout import cpu

    policy, manifest = HfPolicy(path), Manifest.from_checkpoint(path)
    engine, asked = Engine(path, max_model_len=CONTEXT, load_weights=False), prompts(4)

    def send(version: str) -> None:
        """As our policy sends: a tied head is not a tensor of its own."""
        listed = [(name, tensor) for name, tensor in policy.hf_weights() if name != "lm_head.weight"]
        push(_Listed(listed), engine, manifest, version)

    send("first")
    result: dict[str, Any] = {"first": message(lambda: probe(policy, engine, asked).check(1e-4))}
    repack = cpu.repack_tied_head
    cpu.repack_tied_head = lambda model: None  # vLLM's own: the head keeps its packed copy of the old embedding
    policy.move(1)
    send("stale head")
    result["stale head"] = message(lambda: probe(policy, engine, asked).check(1e-3))
    cpu.repack_tied_head = repack
    send("good again")
    result["good again"] = message(lambda: probe(policy, engine, asked).check(1e-4))
    return result


class _Listed:
    def __init__(self, weights: list[tuple[str, Tensor]]) -> None:
        self.weights = weights

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self.weights)


def replicas(path: Path) -> dict[str, Any]:
    """Under torchrun: an engine a rank, unequal shares, the trainer's groups before, between and after."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    pair = dist.new_group(list(range(world)))  # a group of the trainer's, made before the engine
    random.seed(rank), np.random.seed(rank), torch.manual_seed(rank)
    before = process_state()
    engine, policy = Engine(path, max_model_len=CONTEXT, load_weights=False), HfPolicy(path)
    push(policy, engine, Manifest.from_checkpoint(path), "0")
    asked, seeds = prompts(6), [100 * i for i in range(6)]
    mine = slice(0, 1) if rank == 0 else slice(1, 6)
    drawn = engine.sample(asked[mine], seeds[mine], 4, HOT)
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, drawn)

    def total(group: Any) -> float:
        value = torch.tensor(float(rank + 1))
        dist.all_reduce(value, group=group)
        return value.item()

    result = {
        "drawn": [group for share in everyone for group in share],
        "during": (total(None), total(pair)),
        "before": before,
        "after": process_state(),
    }
    engine.close()
    return result | {
        "closed": (total(None), total(pair)),
        "later": dist.new_group(list(range(world))) is not None,
    }


def colocated(path: Path) -> dict[str, Any]:
    """The real policy on TP=2, EP=2 and an engine a rank: push, probe, train, push, probe."""
    from pivot.layout import Layout
    from pivot.policy import OptimizerSettings, PackedGroup, Policy, initialize

    initialize(Layout(tensor=2, expert=2), seed=5)
    policy = Policy.from_hf(path, Layout(tensor=2, expert=2), optimizer=OptimizerSettings())
    manifest, asked = Manifest.from_checkpoint(path), prompts(6)
    engine = Engine(path, max_model_len=CONTEXT, load_weights=False)
    probes, versions = [], []

    def loss(index: int, logprobs: Tensor, entropy: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return -logprobs.sum(), {"loss": -logprobs.detach().sum()}

    for step in range(3):
        stats = push(policy, engine, manifest, str(step))
        probes.append(probe(policy, engine, asked).max_gap)
        drawn = engine.sample(asked, [step] * 6, 1, HOT)
        versions.append({c.weight_version for group in drawn for c in group})
        pairs = zip(asked, drawn, strict=True)
        batch = [PackedGroup.sequence(torch.tensor([*p, *g[0].token_ids]), len(p)) for p, g in pairs]
        policy.forward_backward([batch], loss)
        policy.optimizer_step(1e-3)
    stale = probe(policy, engine, asked).max_gap
    engine.close()
    return {"probes": probes, "stale": stale, "versions": versions, "seconds": stats.seconds}
