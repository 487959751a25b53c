"""Mine pivots: profile every candidate with the model you will train, keep the turns whose rewards vary.

pivot mine model.path=MODEL data.candidates=DIR/candidates.jsonl data.pivots=DIR/pivots.jsonl mine.store=DIR/store
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pivot import ranks
from pivot.config import Config
from pivot.layout import Layout
from pivot.mine.fingerprint import fingerprint
from pivot.mine.groups import Scorer, Turn
from pivot.mine.mining import mine
from pivot.mine.order import prefix_order, split_contiguous
from pivot.mine.progress import MiningProgress, closing_table
from pivot.mine.select import Profile, select
from pivot.mine.store import Shard, done_ids, merged, prepare
from pivot.mine.turns import Encoded, encode, read_candidates
from pivot.policy import initialize
from pivot.program import program
from pivot.prompt import action_parser
from pivot.rollout import Engine, Sampling, prepare_environment
from pivot.trajectory.atomic import atomic_write
from pivot.trajectory.rows import to_row
from pivot.verify import build_verifiers


@program
def main(config: Config) -> None:
    prepare_environment()
    initialize(Layout(), config.run.seed)
    candidates = read_candidates(config.data.candidates, config.data.limit)
    verifiers = build_verifiers(config.verify.name, config.verify.domains)
    engine = Engine(
        config.model.path,
        dtype=config.model.dtype,
        max_model_len=config.rollout.max_model_len,
        max_num_seqs=config.rollout.max_num_seqs,
        kv_cache_bytes=config.rollout.kv_cache_mb << 20,
    )
    scorer = Scorer(action_parser(config.prompt.tool_parser, engine.tokenizer), verifiers)
    encoded = encode(candidates, engine.tokenizer, config.rollout.max_model_len - 1)
    turns = [encoded.turns[i] for i in prefix_order([turn.candidate for turn in encoded.turns])]
    sampling = Sampling(config.rollout.temperature, config.rollout.top_p, config.rollout.max_tokens)
    store = Path(config.mine.store)
    made_by = fingerprint(
        Path(config.model.path), str(engine.tokenizer.chat_template), verifiers, sampling,
        group_size=config.mine.group_size, max_model_len=config.rollout.max_model_len, dtype=config.model.dtype,
        seed=config.run.seed,
    )  # fmt: skip
    if ranks.rank() == 0:
        prepare(store, made_by, fresh=config.mine.fresh)
    ranks.barrier()
    done = done_ids(store)
    ranks.barrier()  # nobody appends before everybody has read what is done
    todo = [turn for turn in turns if turn.candidate.candidate_id not in done]
    share = [todo[i] for i in split_contiguous([len(turn.prompt) for turn in todo], ranks.size())[ranks.rank()]]
    first = ranks.rank() == 0
    console = Console(soft_wrap=True, quiet=not first)  # one bar for all ranks: rank 0 follows every shard
    with MiningProgress(len(turns), store, console) as bar, Shard(store, ranks.rank()) as shard:
        mine(
            share, engine, shard, scorer,
            group_size=config.mine.group_size, wave=config.mine.wave, seed=config.run.seed, sampling=sampling,
            progress=bar.update if first else lambda: None,
        )  # fmt: skip
        ranks.barrier()
        if first:
            bar.update()
    if first:
        finish(config, encoded, turns, store, made_by, console)
    ranks.barrier()


def profiles_of(store: Path, turns: Sequence[Turn]) -> list[Profile]:
    """Profiles in the store, in the order of `turns`."""
    return [stored.profile() for stored in merged(store, [turn.candidate.candidate_id for turn in turns])]


def finish(
    config: Config, encoded: Encoded, turns: Sequence[Turn], store: Path, made_by: dict[str, Any], console: Console
) -> None:
    """Select, write the pivot rows and `mine.json` beside them, print the table."""
    profiles = profiles_of(store, turns)
    kept, cut = select(profiles, require_variance=config.mine.require_variance, max_mean=config.mine.max_mean)
    by_id = {turn.candidate.candidate_id: turn.candidate for turn in turns}
    pivots = Path(config.data.pivots)
    pivots.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(pivots) as file:
        for profile in kept:
            about = made_by | {"model": config.model.path, "rewards": profile.rewards, "mean": profile.mean,
                               "variance": profile.variance, "reasons": profile.reasons}  # fmt: skip
            file.write(json.dumps(to_row(by_id[profile.candidate_id], about), ensure_ascii=False) + "\n")
    kinds = Counter(profile.kind for profile in profiles)
    summary = {
        "candidates": len(profiles), "all0": kinds["all0"], "mixed": kinds["mixed"], "all1": kinds["all1"],
        "selected": len(kept), "cut": dict(cut), "skipped": dict(encoded.skipped),
    }  # fmt: skip
    with atomic_write(store / "mine.json") as file:
        file.write(json.dumps(summary, indent=2) + "\n")
    console.print(closing_table(profiles, kept, cut, encoded.skipped, pivots))


if __name__ == "__main__":
    main()
