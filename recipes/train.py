"""Train on pivots: single-turn GRPO with Megatron, vLLM colocated. One process a device, under torchrun or srun.

    pivot train run.dir=runs/mine data.pivots=runs/mine/pivots.jsonl train.steps=50

or, on ranks that you start yourself, `torchrun --nproc-per-node 2 recipes/train.py train.steps=50`.
"""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from pivot import ranks
from pivot.attempt.running import Running
from pivot.config import Config, GrpoSection
from pivot.engines import open_engine, sampling
from pivot.grpo.losses import Clip, Kl
from pivot.grpo.mismatch import Correction
from pivot.grpo.objective import Objective
from pivot.layout import layout
from pivot.mine.groups import Scorer, Turn
from pivot.mine.turns import read_turns
from pivot.policy import Policy, initialize
from pivot.program import program
from pivot.prompt import PromptEncoder, action_parser
from pivot.rollout import Engine, prepare_environment
from pivot.swap import Manifest, SwapSettings, open_swap
from pivot.swap.formats import FORMATS
from pivot.swap.keep import WireSettings, computes, quantization_config
from pivot.swap_options import SwapSection
from pivot.train.assemble import build_trainer, optimizer, schedule
from pivot.train.batches import Packing
from pivot.train.callbacks import StepLine
from pivot.train.effects import start
from pivot.train.loader import PivotLoader
from pivot.train.memory import Memory
from pivot.train.module import PivotModule, StepSettings
from pivot.train.options import probe_limits
from pivot.train.reuse import Reuse
from pivot.train.update import Grpo
from pivot.verify import build_verifiers


@program
def main(config: Config, running: Running) -> int:
    prepare_environment()
    initialize(layout(config.parallel), config.run.seed)
    policy = Policy.from_hf(
        config.model.path,
        layout(config.parallel),
        dtype=getattr(torch, config.model.dtype),
        optimizer=optimizer(config),
        freeze_router=config.model.freeze_router,
        recompute=config.parallel.recompute,
        router_aux_loss=config.model.router_aux_loss,
        router_replay=config.grpo.router_replay,
        precision=config.precision,
    )
    reference = build_reference(config)
    policies = [policy] if reference is None else [policy, reference]
    manifest = Manifest.from_checkpoint(config.model.path)
    quantization = engine_quantization(config, policy, manifest)
    engine, memory = start(
        policies, config.rollout.sleep_level, lambda can_sleep: start_engine(config, can_sleep, quantization)
    )
    running.agree()  # a start takes minutes
    prompts = PromptEncoder(engine.tokenizer, thinking=config.prompt.thinking, over_long=config.prompt.over_long)
    room = prompts.room(config.rollout.max_model_len, config.rollout.max_tokens)
    turns = read_turns(config.data.pivots, config.data.limit, prompts, room)
    reuse = Reuse(turns, config.train.partial_reuse, config.train.group_size, sampling(config.rollout))
    module = build_module(config, policy, reference, engine, memory, manifest, reuse, running)
    lines = [StepLine(config.train.steps), reuse]
    trainer = build_trainer(config, policy, running, steps=config.train.steps, callbacks=lines)
    batch = config.train.prompts_per_step
    spare = int(config.train.refill * batch)
    loader = PivotLoader(turns, batch=batch, steps=config.train.steps, seed=config.run.seed, spare=spare)
    held_out = validation_turns(config, prompts, room)
    # one batch; a bare list of lists would be taken for many loaders
    trainer.fit(module, loader, DataLoader([held_out], batch_size=None) if held_out else None)
    running.beat("export")
    running.check_lock()
    policy.save_hf(Path(config.run.dir) / "hf", config.model.path)
    if ranks.rank() == 0:
        said = f"trained {trainer.global_step} steps; Hugging Face checkpoint in {config.run.dir}/hf"
        print(f"{config.run.name}: {said}", flush=True)
    ranks.barrier()
    return trainer.global_step


def engine_quantization(config: Config, policy: Policy, manifest: Manifest) -> dict[str, Any] | None:
    """The engine's `quantization_config`, where weights go over in FP8 and the device multiplies it; else None."""
    wire = swap_settings(config.swap).wire
    if wire.format is None or policy.shards() is None or not torch.cuda.is_available():
        return None
    if not computes(wire.format, torch.cuda.get_device_capability()):
        return None
    return quantization_config(manifest.shapes.items(), wire)


def start_engine(config: Config, can_sleep: bool, quantization: dict[str, Any] | None) -> Engine:
    """The colocated engine without weights: the first swap fills it."""
    return open_engine(
        config.model.path,
        config.model.dtype,
        config.rollout,
        load_weights=False,
        can_sleep=can_sleep,
        routes=config.grpo.router_replay,
        quantization=quantization,
    )


def kl_every(config: Config) -> int:
    """Steps between measurements of the KL to the start policy; 0: never."""
    return 1 if config.grpo.kl_coefficient else config.train.kl_every


def build_reference(config: Config) -> Policy | None:
    """The start policy, when the KL to it is wanted."""
    if not kl_every(config):
        return None
    dtype = getattr(torch, config.model.dtype)
    return Policy.from_hf(config.model.path, layout(config.parallel), dtype=dtype, optimizer=None)


def build_module(
    config: Config,
    policy: Policy,
    reference: Policy | None,
    engine: Engine,
    memory: Memory,
    manifest: Manifest,
    reuse: Reuse,
    running: Running,
) -> PivotModule:
    settings = StepSettings(
        seed=config.run.seed,
        prompts=config.train.prompts_per_step,
        early_stop=config.train.early_stop,
        group_size=config.train.group_size,
        validation_samples=config.train.validation_samples,
        sampling=sampling(config.rollout),
        schedule=schedule(config, steps=config.train.steps, default="constant"),
        kl_every=kl_every(config),
        probe_every=config.train.probe_every,
        probe_always=config.rollout.sleep_level == 2,
        probe_sequences=config.train.probe_sequences,
        probe_limits=probe_limits(
            config.train.probe_limit,
            config.train.probe_mean_limit,
            dtype=config.model.dtype,
            fp8=config.swap.fp8,
        ),
    )
    grpo = Grpo(
        estimator=config.grpo.advantage,
        reduction=config.grpo.reduction,
        objective=objective(config.grpo),
        temperature=config.rollout.temperature,
        packing=Packing(config.train.micro_batch_tokens, config.train.shared_prefix, policy.pair_cost),
        malformed_advantage=config.grpo.malformed_advantage,
        mask_over_long=config.grpo.mask_over_long,
    )
    scorer = Scorer(
        action_parser(config.prompt.tool_parser, engine.tokenizer),
        build_verifiers(config.verify.name, config.verify.domains),
    )
    cut = engine.placement.tensor, engine.placement.expert_parallel, engine.placement.tensor_rank
    weights = open_swap(policy, manifest, swap_settings(config.swap), *cut, engine.quantization)
    return PivotModule(policy, reference, engine, memory, manifest, weights, scorer, grpo, settings, reuse, running)


def swap_settings(swap: SwapSection) -> SwapSettings:
    """How weights go over, as the configuration wants it."""
    wire = WireSettings(FORMATS[swap.fp8] if swap.fp8 else None, tuple(swap.keep))
    return SwapSettings(swap.bucket_mb << 20, wire, swap.verify, ranks.size_on_node())


def objective(grpo: GrpoSection) -> Objective:
    """The loss of a token as the configuration wants it."""
    pull = Kl(grpo.kl_coefficient, grpo.kl_estimator, grpo.kl_in) if grpo.kl_coefficient else None
    correction = Correction(
        grpo.mismatch, grpo.mismatch_cap, grpo.icepop_low, grpo.icepop_high, grpo.sequence_threshold
    )
    clip = Clip(grpo.clip_low, grpo.clip_high, grpo.clip_dual)
    return Objective(clip, correction, grpo.old_logprobs, grpo.entropy, pull)


def validation_turns(config: Config, prompts: PromptEncoder, room: int) -> list[Turn]:
    if not config.data.validation:
        return []
    return read_turns(config.data.validation, None, prompts, room)[: config.train.validation_pivots]


if __name__ == "__main__":
    main()
