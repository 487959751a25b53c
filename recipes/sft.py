"""Supervised training on the Megatron policy: the tiny model's pre-training, and the SFT baseline on expert actions.

pivot sft run.dir=runs/sft data.candidates=runs/demo/data/candidates.jsonl supervised.data=candidates
pivot sft --config pretrain
"""

import random
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoTokenizer

from pivot import ranks
from pivot.attempt.running import Running
from pivot.baseline.supervised import Document, StepLoader, SupervisedModule, action_document, endless
from pivot.config import Config
from pivot.layout import layout
from pivot.mine.turns import read_turns
from pivot.policy import Policy, initialize
from pivot.program import program
from pivot.prompt import PromptEncoder
from pivot.train.assemble import build_trainer, optimizer, schedule
from pivot.train.callbacks import LossLine
from pivot.world.corpus import documents


@program
def main(config: Config, running: Running) -> int:
    initialize(layout(config.parallel), config.run.seed)
    policy = Policy.from_hf(
        config.model.path,
        layout(config.parallel),
        dtype=getattr(torch, config.model.dtype),
        optimizer=optimizer(config),
        freeze_router=config.model.freeze_router,
        recompute=config.parallel.recompute,
        router_aux_loss=config.model.router_aux_loss,
        precision=config.precision,
    )
    steps = config.supervised.steps
    module = SupervisedModule(
        policy,
        schedule=schedule(config, steps=steps, default="cosine"),
        micro_batch_tokens=config.train.micro_batch_tokens,
    )
    loader = StepLoader(lambda: stream(config), tokens_per_step=config.supervised.tokens_per_step, steps=steps)
    trainer = build_trainer(config, policy, running, steps=steps, callbacks=[LossLine(steps)])
    trainer.fit(module, loader)
    running.beat("export")
    running.check_lock()
    policy.save_hf(Path(config.run.dir) / "hf", config.model.path)
    if ranks.rank() == 0:
        print(f"trained {trainer.global_step} steps; Hugging Face checkpoint in {config.run.dir}/hf", flush=True)
    ranks.barrier()
    return trainer.global_step


def stream(config: Config) -> Iterator[Document]:
    """The endless document stream of the configured source."""
    tokenizer = AutoTokenizer.from_pretrained(config.model.path)
    if config.supervised.data == "corpus":
        return iter(documents(tokenizer, config.run.seed))
    prompts = PromptEncoder(tokenizer, thinking=config.prompt.thinking, over_long=config.prompt.over_long)
    room = prompts.room(config.rollout.max_model_len, config.rollout.max_tokens)
    turns = read_turns(config.data.candidates, config.data.limit, prompts, room)
    examples = [action_document(turn, prompts) for turn in turns]

    def epoch(number: int) -> list[Document]:
        return random.Random(f"{config.run.seed}:{number}").sample(examples, len(examples))

    return endless(epoch)


if __name__ == "__main__":
    main()
