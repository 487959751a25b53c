"""Mine pivots: profile every candidate with the model you will train, keep the turns whose rewards vary.

    pivot mine model.path=MODEL data.candidates=DIR/candidates.jsonl data.pivots=DIR/pivots.jsonl mine.store=DIR/store

Killed, it goes on where it stopped. Over several jobs, add mine.shard=0/4 … 3/4 with one store: the job that finishes
last selects. When every candidate is profiled, the same command selects anew without an engine (mine.select=hard).
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pivot import ranks
from pivot.attempt.running import Running
from pivot.config import Config
from pivot.engines import open_engine, sampling
from pivot.layout import Layout
from pivot.mine.adaptive import Plan
from pivot.mine.fingerprint import fingerprint, prompt_sha
from pivot.mine.groups import Scorer, Turn
from pivot.mine.mining import mine
from pivot.mine.order import distinct_tokens, prefix_order, split_contiguous
from pivot.mine.progress import MiningProgress, closing_table
from pivot.mine.results import Prefill, select_all, write
from pivot.mine.select import Caps, rule
from pivot.mine.shards import Part, part
from pivot.mine.store import Shard, done_ids, locked, prepare
from pivot.mine.turns import Encoded, encode, read_candidates
from pivot.policy import initialize
from pivot.program import program
from pivot.prompt import PromptEncoder, action_parser
from pivot.rollout import prepare_environment
from pivot.shares import Shares, once, sampling_costs
from pivot.verify import Verifiers, build_verifiers


@dataclass(frozen=True, slots=True)
class Job:
    """What there is to do, before an engine is started.

    Attributes:
        encoded: Candidates that became prompts, and those that did not.
        turns: The former in prefix order, of all jobs.
        part: Which of them this job does.
        todo: Those of this job's that have no profile yet.
        plan: How many samples each gets.
        made_by: What profiles depend on.
    """

    encoded: Encoded
    turns: Sequence[Turn]
    part: Part
    todo: Sequence[Turn]
    plan: Plan
    made_by: dict[str, Any]


@program
def main(config: Config, running: Running) -> None:
    prepare_environment()
    initialize(Layout(), config.run.seed)
    console = Console(soft_wrap=True, quiet=ranks.rank() != 0)
    verifiers = build_verifiers(config.verify.name, config.verify.domains)
    job = prepare_job(config, verifiers)
    ranks.barrier()  # nobody appends before everybody has read what is done
    prefill = sample(config, job, verifiers, running, console) if job.todo else None
    if ranks.rank() == 0:
        finish(config, job, prefill, console)
    ranks.barrier()


def prepare_job(config: Config, verifiers: Verifiers) -> Job:
    """Encode the candidates, make or check the store, see what is left to do."""
    tokenizer = load_tokenizer(config.model.path)
    prompts = PromptEncoder(tokenizer, thinking=config.prompt.thinking, over_long=config.prompt.over_long)
    encoded = encode(
        read_candidates(config.data.candidates, config.data.limit),
        prompts,
        prompts.room(config.rollout.max_model_len, config.rollout.max_tokens),
    )
    unique = list({turn.candidate.candidate_id: turn for turn in encoded.turns}.values())
    turns = [unique[i] for i in prefix_order([turn.candidate for turn in unique])]
    section = config.mine
    chosen = rule(section.select, require_variance=section.require_variance, max_mean=section.max_mean)
    plan = Plan(tuple(section.waves or [section.group_size]), chosen, section.error_rate, section.prior)
    made_by = fingerprint(
        Path(config.model.path), str(tokenizer.chat_template), prompt_sha(prompts.identity, config.prompt.tool_parser),
        verifiers, sampling(config.rollout), plan,
        max_model_len=config.rollout.max_model_len, dtype=config.model.dtype, seed=config.run.seed,
    )  # fmt: skip
    if moved := prepare(Path(section.store), made_by, redo=section.stale == "redo"):
        print(f"profiles that were made another way are in {moved}", flush=True)
    mine_part = part(section.shard, os.environ, ranks.size())
    own = split_contiguous([len(turn.prompt) for turn in turns], mine_part.count)[mine_part.index]
    done = done_ids(Path(section.store))
    todo = [turns[i] for i in own if turns[i].candidate.candidate_id not in done]
    return Job(encoded, turns, mine_part, todo, plan, made_by)


def load_tokenizer(path: str) -> Any:
    """The checkpoint's own tokenizer, without an engine."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def sample(config: Config, job: Job, verifiers: Verifiers, running: Running, console: Console) -> Prefill:
    """Profile this rank's share of the job; collective over the job's ranks.

    Raises:
        Stopped: a replica was asked to stop before it was done.
    """
    rollout = config.rollout
    engine = open_engine(config.model.path, config.model.dtype, rollout, share_tails=True)
    placement = engine.placement
    scorer = Scorer(action_parser(config.prompt.tool_parser, engine.tokenizer), verifiers)
    store = Path(config.mine.store)
    # In prefix order a neighbour's prompt is cached, so a share is a run of neighbours.
    costs = sampling_costs([len(turn.prompt) for turn in job.todo], job.plan.group_size, rollout.max_tokens)
    shares = Shares(split_contiguous(costs, placement.replicas), placement)
    first = ranks.rank() == 0  # one bar for all ranks: rank 0 follows every shard
    file = job.part.file(placement.replica)
    with (
        Shard(store, file, job.made_by) if placement.first else nullcontext() as shard,
        MiningProgress(len(job.turns), store, console) as bar,
    ):
        whole = mine(
            shares.own(job.todo), engine, shard, scorer, job.plan,
            wave=config.mine.wave, seed=config.run.seed, sampling=sampling(config.rollout),
            progress=bar.update if first else lambda: None, stop=running.wanted,
        )  # fmt: skip
        computed = sum(once([engine.prefill_tokens], placement))
        if first:
            bar.update()
        everywhere = all(ranks.gather([whole]))
    if not everywhere:
        running.agree()
    return Prefill(computed, distinct_tokens(turn.prompt for turn in job.todo))


def finish(config: Config, job: Job, prefill: Prefill | None, console: Console) -> None:
    """Select over all jobs' profiles, if this job was the last; jobs that end together do it one after the other."""
    store = Path(config.mine.store)
    with locked(store):
        missing = len({turn.candidate.candidate_id for turn in job.turns} - done_ids(store))
        if missing:
            console.print(f"this part is done; {missing} candidates of others are not, so nothing is selected yet")
            return
        caps = Caps(config.mine.per_trajectory, config.mine.message_share, config.mine.domain_ratio)
        selected = select_all(store, job.turns, job.plan.rule, caps)
        settings = {
            "skipped": dict(job.encoded.skipped),
            "notes": dict(job.encoded.notes),
            "rule": asdict(job.plan.rule),
            "caps": asdict(caps),
            "prefill": {**asdict(prefill), "ratio": round(prefill.ratio, 4)} if prefill else None,
        }
        about = {**job.made_by, "model": config.model.path}
        write(Path(config.data.pivots), store, job.turns, selected, about, settings)
    console.print(closing_table(selected, job.encoded, prefill, Path(config.data.pivots)))


if __name__ == "__main__":
    main()
