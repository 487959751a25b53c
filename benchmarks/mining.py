"""The miner against the bare engine, prefix order against shuffled order, adaptive profiling against all G samples.

python -m benchmarks.mining [--trajectories 40] [--group 8] [--candidates FILE --model DIR]

Everything runs in one process on the same candidates; both sides of a comparison take turns, and medians are shown.
"""

import argparse
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from pivot.demo.run import CHECKPOINT
from pivot.mine.adaptive import Plan, outcome
from pivot.mine.groups import Scorer, Turn, sample_seed
from pivot.mine.mining import mine
from pivot.mine.order import distinct_tokens, prefix_order
from pivot.mine.select import rule
from pivot.mine.store import Shard, StoredProfile, merged, prepare
from pivot.mine.turns import encode, read_candidates
from pivot.prompt import PromptEncoder, action_parser
from pivot.rollout import Engine, Sampling, prepare_environment
from pivot.rollout.cpu import engine_arguments, on_cpu
from pivot.trajectory.convert import convert
from pivot.verify import build_verifiers
from pivot.world.corpus import write_trajectories
from pivot.world.expert import expert_trajectories

SEQUENCES, WAVE, SEED = 128, 32, 0
WAVES = (4, 4, 8)
STOPS = ((0.0, 0.5), (0.05, 0.5), (0.3, 0.5), (0.05, 0.1), (0.1, 0.1))  # error rate, prior


class Bench:
    """Candidates as turns, and what is done with them."""

    def __init__(self, arguments: argparse.Namespace, directory: Path) -> None:
        self.model, self.length, self.directory = arguments.model, arguments.max_model_len, directory
        self.sampling = Sampling(1.0, 1.0, arguments.max_tokens)
        self.verifiers = build_verifiers(arguments.verifier, {})
        self.rows = arguments.candidates or make_candidates(directory, arguments.trajectories)
        self.stores = 0
        self.turns: list[Turn] = []
        self.scorer: Scorer

    def start(self, kv_cache_mb: int, *, share_tails: bool) -> Engine:
        """An engine; the first one's tokenizer makes the prompts."""
        engine = Engine(
            self.model, max_model_len=self.length, max_num_seqs=SEQUENCES, kv_cache_bytes=kv_cache_mb << 20,
            share_tails=share_tails,
        )  # fmt: skip
        if not self.turns:
            prompts = PromptEncoder(engine.tokenizer)
            room = prompts.room(self.length, self.sampling.max_tokens)
            encoded = encode(read_candidates(str(self.rows), None), prompts, room).turns
            self.turns = [encoded[i] for i in prefix_order([turn.candidate for turn in encoded])]
            self.scorer = Scorer(action_parser("hermes", engine.tokenizer), self.verifiers)
        return engine

    def mine(
        self, engine: Engine, plan: Plan, turns: Sequence[Turn] | None = None
    ) -> tuple[float, list[StoredProfile]]:
        """Mine into a new store, with a cold cache; returns seconds and what was stored, in prefix order."""
        self.stores += 1
        store = self.directory / f"store-{self.stores}"
        prepare(store, {})
        engine.forget_prefixes()
        engine.prefill_tokens = 0
        with Shard(store, "shard-0.jsonl", {}) as shard, timed() as spent:
            mine(
                self.turns if turns is None else turns, engine, shard, self.scorer, plan,
                wave=WAVE, seed=SEED, sampling=self.sampling, progress=lambda: None,
            )  # fmt: skip
        return spent(), list(merged(store, [turn.candidate.candidate_id for turn in self.turns]))


def make_candidates(directory: Path, trajectories: int) -> Path:
    """Candidates of the embedded world."""
    write_trajectories(expert_trajectories(trajectories, SEED, "train"), directory / "train.jsonl")
    convert([directory / "train.jsonl"], directory)
    return directory / "candidates.jsonl"


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """`spent()` is the seconds that the block took."""
    start, end = time.perf_counter(), 0.0
    yield lambda: end - start
    end = time.perf_counter()


def tokens(profiles: Iterable[StoredProfile]) -> int:
    return sum(sample.tokens for item in profiles for sample in item.samples)


def bare_engine(bench: Bench, kv_cache_mb: int) -> Any:
    """vLLM as anybody starts it, on the same checkpoint."""
    from vllm import LLM

    return LLM(
        str(bench.model), dtype="float32", max_model_len=bench.length, max_num_seqs=SEQUENCES, enforce_eager=True,
        kv_cache_memory_bytes=kv_cache_mb << 20, enable_prefix_caching=True, generation_config="vllm", seed=0,
        use_tqdm_on_load=False, disable_log_stats=True, **(engine_arguments(bench.length) if on_cpu() else {}),
    )  # fmt: skip


def generate(llm: Any, bench: Bench, group: int) -> tuple[float, int]:
    """All requests in one call of `LLM.generate`; returns seconds and tokens."""
    from vllm import SamplingParams

    llm.reset_prefix_cache()
    parameters = [
        SamplingParams(n=group, seed=sample_seed(SEED, turn.candidate.candidate_id), temperature=1.0,
                       max_tokens=min(bench.sampling.max_tokens, bench.length - len(turn.prompt)))
        for turn in bench.turns
    ]  # fmt: skip
    prompts = [{"prompt_token_ids": list(turn.prompt)} for turn in bench.turns]
    with timed() as spent:
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
    return spent(), sum(len(choice.token_ids) for output in outputs for choice in output.outputs)


def throughput(bench: Bench, engine: Engine, llm: Any, group: int, repeats: int) -> dict[str, Any]:
    """Tokens a second of the miner (verdicts and store included) and of `LLM.generate`, taking turns."""
    plan = Plan((group,), rule("paper"))
    bare, miner = [], []
    for _ in range(repeats):
        seconds, drawn = generate(llm, bench, group)
        bare.append(drawn / seconds)
        seconds, profiles = bench.mine(engine, plan)
        miner.append(tokens(profiles) / seconds)
    ratios = [ours / theirs for ours, theirs in zip(miner, bare, strict=True)]
    shown = {"bare_tokens_s": statistics.median(bare), "miner_tokens_s": statistics.median(miner)}
    return {name: round(value) for name, value in shown.items()} | {
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


def orders(bench: Bench, engine: Engine, group: int) -> dict[str, Any]:
    """Prompt tokens computed and seconds, in prefix order and shuffled."""
    shuffled = random.Random(SEED).sample(bench.turns, len(bench.turns))
    distinct = distinct_tokens(turn.prompt for turn in bench.turns)
    found = {}
    for name, turns in (("prefix", bench.turns), ("shuffled", shuffled)):
        seconds, _ = bench.mine(engine, Plan((group,), rule("paper")), turns)
        computed = engine.prefill_tokens
        found[name] = {"computed": computed, "ratio": round(computed / distinct, 3), "seconds": round(seconds, 2)}
    return found


def adaptive(bench: Bench, engine: Engine) -> dict[str, Any]:
    """Rollouts saved and outcomes that differ from all G samples on the same seeds.

    An adaptive run stores the first samples of the full one, which one real run checks, so the stops of every setting
    are read off the full run.
    """
    full_seconds, full = bench.mine(engine, Plan((sum(WAVES),), rule("paper")))
    seconds, short = bench.mine(engine, Plan(WAVES, rule("paper")))
    if any(long.samples[: len(item.samples)] != item.samples for long, item in zip(full, short, strict=True)):
        raise RuntimeError("an adaptive run drew other samples than the full one")
    rewards = [item.profile().rewards for item in full]
    rows = [
        {"decides": name, "error_rate": error_rate, "prior": prior,
         **stops(rewards, Plan(WAVES, chosen, error_rate, prior))}
        for name, chosen in (("class", rule("paper")), ("class, mean < 0.6", rule("paper", max_mean=0.6)))
        for error_rate, prior in STOPS
    ]  # fmt: skip
    times = {"full": round(full_seconds, 2), "adaptive": round(seconds, 2)}
    return {"G": sum(WAVES), "waves": WAVES, "rows": rows, "seconds": times}


def stops(rewards: Sequence[Sequence[float]], plan: Plan) -> dict[str, float]:
    """What a plan saves and gets wrong on candidates whose G rewards are known."""
    ends = list(itertools.accumulate(plan.waves))
    drawn = [next(end for end in ends if plan.settled(each[:end])) for each in rewards]
    wrong = sum(
        outcome(each[:end], plan.rule) != outcome(each, plan.rule) for each, end in zip(rewards, drawn, strict=True)
    )
    saved = 1 - sum(drawn) / (plan.group_size * len(rewards))
    return {"saved": round(saved, 3), "differ": round(wrong / len(rewards), 4)}


def show(console: Console, result: dict[str, Any]) -> None:
    """The tables for people."""
    speed = result["throughput"]
    console.print(
        f"LLM.generate {speed['bare_tokens_s']:,} tokens/s, miner {speed['miner_tokens_s']:,}: {speed['ratio']}"
    )
    table = Table("engine", "order", "prompt tokens", "/ distinct", "seconds", title="Prefix order")
    for engine, found in result["prefix"]["engines"].items():
        for order, row in found.items():
            table.add_row(engine, order, f"{row['computed']:,}", f"{row['ratio']:.2f}", f"{row['seconds']:.1f}")
    console.print(table)
    table = Table(
        "decides", "error rate", "prior", "rollouts saved", "outcomes that differ", title="Adaptive profiling"
    )
    for row in result["adaptive"]["rows"]:
        cells = (f"{row['error_rate']:g}", f"{row['prior']:g}", f"{row['saved']:.1%}", f"{row['differ']:.2%}")
        table.add_row(row["decides"], *cells)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trajectories", type=int, default=40, help="of the embedded world (default: 40)")
    parser.add_argument("--candidates", type=Path, help="candidate rows to use instead")
    parser.add_argument("--model", type=Path, default=CHECKPOINT, help="checkpoint (default: the tiny MoE)")
    parser.add_argument("--group", type=int, default=8, help="G (default: 8)")
    parser.add_argument("--max-model-len", type=int, default=768)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--verifier", default="functional", help="a verifier for all candidates (default: functional)")
    parser.add_argument("--kv-cache-mb", type=int, default=128, help="cache that holds everything (default: 128)")
    parser.add_argument("--small-kv-cache-mb", type=int, default=24, help="cache that does not (default: 24)")
    parser.add_argument("--repeats", type=int, default=3, help="of the throughput comparison (default: 3)")
    arguments = parser.parse_args()
    prepare_environment()
    console = Console()
    with tempfile.TemporaryDirectory() as directory, Progress(console=console) as bar:
        task = bar.add_task("engines", total=6)

        def step(name: str) -> None:
            bar.update(task, advance=1, description=name)
            if not console.is_terminal:
                console.print(name)

        bench = Bench(arguments, Path(directory))
        engine = bench.start(arguments.kv_cache_mb, share_tails=True)
        llm = bare_engine(bench, arguments.kv_cache_mb)
        bench.mine(engine, Plan((2,), rule("paper")), bench.turns[:WAVE])  # warm both up
        generate(llm, bench, 1)
        step("miner and LLM.generate")
        speed = throughput(bench, engine, llm, arguments.group, arguments.repeats)
        step("prefix order and shuffled, everything fits")
        engines = {"miner": orders(bench, engine, arguments.group)}
        step("adaptive profiling")
        stops = adaptive(bench, engine)
        engine.close()
        step("prefix order and shuffled, small cache")
        with bench.start(arguments.small_kv_cache_mb, share_tails=True) as small:
            engines[f"miner, cache of {arguments.small_kv_cache_mb} MiB"] = orders(bench, small, arguments.group)
        step("prefix order and shuffled, whole blocks only")
        with bench.start(arguments.kv_cache_mb, share_tails=False) as blocks:
            engines["whole blocks only"] = orders(bench, blocks, arguments.group)
        step("done")
    distinct = distinct_tokens(turn.prompt for turn in bench.turns)
    floor = distinct + (arguments.group - 1) * len(bench.turns)
    result = {
        "benchmark": "mining", "candidates": len(bench.turns), "G": arguments.group, "throughput": speed,
        "prefix": {"distinct": distinct, "floor": round(floor / distinct, 3), "engines": engines}, "adaptive": stops,
    }  # fmt: skip
    show(console, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
