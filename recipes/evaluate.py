"""Evaluate models in the embedded world: episode success in-domain, exact-match accuracy out of domain.

pivot evaluate evaluate.models.base=pivot/world/tiny-moe evaluate.models.pivotrl=runs/demo/train/hf
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from pivot import ranks
from pivot.config import Config
from pivot.errors import UserError
from pivot.layout import Layout
from pivot.policy import initialize
from pivot.program import program
from pivot.prompt import PromptEncoder, action_parser
from pivot.report.terminal import print_evaluation
from pivot.rollout import Engine, Sampling, prepare_environment
from pivot.swap import Manifest
from pivot.trajectory.atomic import atomic_write
from pivot.world.evaluation import Model, Score, episodes, questions
from pivot.world.skills import make_questions
from pivot.world.tasks import make_tasks


@program
def main(config: Config) -> None:
    section = config.evaluate
    if not section.models:
        raise UserError("evaluate.models is empty: name checkpoints, as in evaluate.models.base=pivot/world/tiny-moe")
    prepare_environment()
    initialize(Layout(), config.run.seed)
    first = next(iter(section.models.values()))
    engine = Engine(
        first,
        dtype=config.model.dtype,
        max_model_len=config.rollout.max_model_len,
        max_num_seqs=config.rollout.max_num_seqs,
        kv_cache_bytes=config.rollout.kv_cache_mb << 20,
        load_weights=False,
    )
    manifest = Manifest.from_checkpoint(first)
    results = []
    for name, path in section.models.items():
        engine.update_weights(manifest.check(read_weights(Path(path))), name)
        for seed in section.seeds:
            results.append({"model": name, "seed": seed, **evaluate(config, engine, seed)})
            if ranks.rank() == 0:
                print(describe(results[-1]), flush=True)
    if ranks.rank() == 0:
        out = Path(section.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(out) as file:
            file.write(json.dumps(results, indent=2) + "\n")
        print_evaluation(results)
    ranks.barrier()


def read_weights(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a checkpoint by name, one at a time."""
    for path in sorted(directory.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  (a safetensors handle is no mapping)
                yield name, file.get_tensor(name)


def evaluate(config: Config, engine: Engine, seed: int) -> dict[str, dict[str, object]]:
    """One model, one seed: every rank plays its share of the tasks and answers its share of the questions."""
    section = config.evaluate
    sampling = Sampling(config.rollout.temperature, config.rollout.top_p, config.rollout.max_tokens)
    prompts = PromptEncoder(engine.tokenizer, thinking=config.prompt.thinking, over_long=config.prompt.over_long)
    parse = action_parser(config.prompt.tool_parser, engine.tokenizer)
    model = Model(engine, prompts, parse, sampling, seed)
    in_domain = episodes(model, ranks.share(make_tasks(section.tasks, seed)), section.max_turns)
    ood = questions(model, ranks.share(make_questions(section.questions, seed)))
    return {"in_domain": total([in_domain]), "ood": total([ood])}


def total(scores: Sequence[Score]) -> dict[str, object]:
    """Scores of all ranks added up."""
    everyone = ranks.gather(scores)
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
