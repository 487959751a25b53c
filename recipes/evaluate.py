"""Evaluate models in the embedded world: episode success in-domain, exact-match accuracy out of domain.

pivot evaluate evaluate.models.base=pivot/world/tiny-moe evaluate.models.pivotrl=runs/demo/train/hf
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from pivot import ranks
from pivot.attempt.running import Running
from pivot.config import Config
from pivot.engines import open_engine, sampling
from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import initialize
from pivot.program import program
from pivot.prompt import PromptEncoder, action_parser
from pivot.report.terminal import print_evaluation
from pivot.rollout import Placement, prepare_environment
from pivot.rollout.types import Sampler
from pivot.shares import Shares, once
from pivot.swap import Manifest
from pivot.trajectory.atomic import atomic_write
from pivot.world.evaluation import Model, Score, episodes, questions
from pivot.world.skills import make_questions
from pivot.world.tasks import make_tasks


@program
def main(config: Config, running: Running) -> None:
    section = config.evaluate
    if not section.models:
        raise UserError("evaluate.models is empty: name checkpoints, as in evaluate.models.base=pivot/world/tiny-moe")
    prepare_environment()
    initialize(Layout(), config.run.seed)
    results = []
    with closing(colocated(config) if section.server is None else served(config, section.server)) as samplers:
        for name, sampler in samplers:
            for seed in section.seeds:
                results.append({"model": name, "seed": seed, **evaluate(config, running, sampler, seed)})
                if ranks.rank() == 0:
                    print(describe(results[-1]), flush=True)
    if ranks.rank() == 0:
        out = Path(section.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as file:
            file.write(json.dumps(results, indent=2) + "\n")
        print_evaluation(results)
    ranks.barrier()


def colocated(config: Config) -> Iterator[tuple[str, Sampler]]:
    """Every model in turn, in one engine a replica; collective."""
    models = config.evaluate.models
    first = next(iter(models.values()))
    engine = open_engine(first, config.model.dtype, config.rollout, load_weights=False)
    manifest = Manifest.from_checkpoint(first)
    for name, path in models.items():
        engine.update_weights(manifest.check(read_weights(Path(path))), name)
        yield name, engine


def served(config: Config, address: str) -> Iterator[tuple[str, Sampler]]:
    """Every model in turn, by a server: the one at `address`, or one that rank 0 starts for it; collective."""
    from pivot.rollout.serve import serve
    from pivot.rollout.server import Server

    models, rollout = config.evaluate.models, config.rollout
    for name, path in models.items():
        with ExitStack() as stack:
            url = address
            if address == "start" and ranks.rank() == 0:
                log = Path(config.evaluate.out).with_suffix(f".{name}.log")
                url = stack.enter_context(serve(path, log, **server_settings(config)))
            placement = Placement.of(ranks.rank(), ranks.size())
            yield name, Server(ranks.from_first(url), path, max_model_len=rollout.max_model_len, placement=placement)
            ranks.barrier()  # rank 0 stops the server when nobody asks it any more


def server_settings(config: Config) -> dict[str, object]:
    """vLLM's engine arguments of a server, by their Python names."""
    from pivot.rollout import cpu
    from pivot.rollout.start import decoding

    rollout = config.rollout
    return {
        "tensor_parallel_size": rollout.tensor,
        "enable_expert_parallel": rollout.expert_parallel,
        "dtype": config.model.dtype,
        "max_model_len": rollout.max_model_len,
        "max_num_seqs": rollout.max_num_seqs,
        "kv_cache_memory_bytes": rollout.kv_cache_mb << 20,
        **decoding(rollout.cuda_graphs),
        **(cpu.engine_arguments(rollout.max_model_len) if cpu.on_cpu() else {}),
    }


def read_weights(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a checkpoint by name, one at a time."""
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                yield name, file.get_tensor(name)


def evaluate(config: Config, running: Running, engine: Sampler, seed: int) -> dict[str, dict[str, object]]:
    """One model, one seed: every replica plays its share of the tasks and answers its share of the questions."""
    section = config.evaluate
    prompts = PromptEncoder(engine.tokenizer, thinking=config.prompt.thinking, over_long=config.prompt.over_long)
    parse = action_parser(config.prompt.tool_parser, engine.tokenizer)
    model = Model(engine, prompts, parse, sampling(config.rollout), seed, running.beat)
    tasks, asked = make_tasks(section.tasks, seed), make_questions(section.questions, seed)
    in_domain = episodes(model, Shares.balanced([1.0] * len(tasks), engine.placement).own(tasks), section.max_turns)
    ood = questions(model, Shares.balanced([1.0] * len(asked), engine.placement).own(asked))
    return {"in_domain": total(in_domain, engine.placement), "ood": total(ood, engine.placement)}


def total(score: Score, placement: Placement) -> dict[str, object]:
    """Scores of all replicas added up."""
    everyone = once([score], placement)
    detail = Counter[str]()
    for score in everyone:
        detail.update(score.detail)
    return {
        "successes": sum(score.successes for score in everyone),
        "n": sum(score.trials for score in everyone),
        "detail": dict(detail),
    }


def describe(result: dict) -> str:  # type: ignore[type-arg]
    world, ood = result["in_domain"], result["ood"]
    return (
        f"{result['model']} seed {result['seed']}: episodes {world['successes']}/{world['n']}, "
        f"questions {ood['successes']}/{ood['n']}"
    )


if __name__ == "__main__":
    main()
