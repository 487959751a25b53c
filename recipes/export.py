"""Export a training checkpoint to a Hugging Face directory, and prove that `transformers` computes the same logprobs.

pivot export run.dir=runs/demo/train export.out=my-model
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from pivot import ranks
from pivot.attempt.running import Running
from pivot.config import Config
from pivot.errors import UserError
from pivot.layout import layout
from pivot.policy import PackedGroup, Policy, initialize
from pivot.program import program
from pivot.train.assemble import optimizer
from pivot.train.retention import newest

LIMIT = {"float32": 1e-4, "bfloat16": 0.5}


@program
def main(config: Config, running: Running) -> None:
    initialize(layout(config.parallel), config.run.seed)
    checkpoints = Path(config.run.dir) / "checkpoints"
    checkpoint = Path(config.export.checkpoint) if config.export.checkpoint else newest(checkpoints)
    if checkpoint is None or not checkpoint.is_dir():
        raise UserError(f"{checkpoint or checkpoints}: no checkpoint here; train first, or set export.checkpoint")
    policy = Policy.from_hf(
        config.model.path,
        layout(config.parallel),
        dtype=getattr(torch, config.model.dtype),
        optimizer=optimizer(config),
    )
    running.beat("load")
    policy.load(checkpoint)
    running.beat("write")
    out = Path(config.export.out)
    policy.save_hf(out, config.model.path)
    running.beat("compare")
    gap = logprob_gap(policy, out)
    if ranks.rank() == 0:
        print(f"{checkpoint} -> {out}; largest |logprob difference| to transformers {gap:.1e}", flush=True)
    if gap > LIMIT[config.model.dtype]:
        raise UserError(f"{out}: logprobs differ from the policy's by {gap:.1e}; do not use this export")
    ranks.barrier()


def logprob_gap(policy: Policy, directory: Path) -> float:
    """Largest difference on 4 random sequences of 64 tokens; every rank takes part, rank 0 asks transformers."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, policy.hf_config["vocab_size"], (4, 64), generator=generator)
    [(ours, _)] = policy.logprobs([[PackedGroup.sequence(row, 1) for row in tokens]])
    gap = 0.0
    if ranks.rank() == 0:
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
        with torch.no_grad():
            theirs = torch.log_softmax(model(tokens).logits[:, :-1], -1).gather(-1, tokens[:, 1:, None]).flatten()
        gap = float((ours.cpu() - theirs).abs().max())
    return ranks.from_first(gap)


if __name__ == "__main__":
    main()
