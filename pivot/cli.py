"""`pivot`: the command line. Thin: each command parses, checks what can be checked at once, and calls a room."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from pivot import __version__
from pivot.config import Config, load, recipes
from pivot.errors import UserError

EPILOG = """\
a run from your own trajectories, on this machine:
  pivot convert my_trajectories.jsonl --out data
  pivot mine  model.path=MODEL                        (reads data/candidates.jsonl, writes data/pivots.jsonl)
  pivot train model.path=MODEL run.dir=runs/first     (reads data/pivots.jsonl)
or the whole loop on the embedded world, in minutes:
  pivot demo
"""

RUNS = {
    "mine": (
        "profile candidates with local rollouts and keep the pivots",
        "pivot mine model.path=MODEL data.candidates=data/candidates.jsonl mine.group_size=16",
    ),
    "train": (
        "single-turn GRPO on pivots (Megatron policy, vLLM colocated)",
        "pivot train model.path=MODEL data.pivots=data/pivots.jsonl run.dir=runs/first train.steps=50",
    ),
    "sft": (
        "supervised training on the same policy: SFT on expert actions, or pre-training of the tiny model",
        "pivot sft supervised.data=candidates data.candidates=data/candidates.jsonl run.dir=runs/sft",
    ),
    "evaluate": (
        "whole episodes and out-of-domain questions in the embedded world",
        "pivot evaluate evaluate.models.base=pivot/world/tiny-moe evaluate.models.trained=runs/first/hf",
    ),
    "export": (
        "a training checkpoint as a Hugging Face directory, with its logprobs checked against transformers",
        "pivot export run.dir=runs/first export.out=runs/first/hf",
    ),
}


CONVERT_EPILOG = """\
formats, told apart by these keys:
{shapes}

examples:
  pivot convert airline.json --tools tools_airline.json --out data
  pivot convert runs/ 'more/**/*.traj' --only-successful --validation 0.1 --split task --out data
  zcat big.jsonl.gz | pivot convert - --format openai_chat --domain search --out data

Every assistant turn becomes a candidate (candidates.jsonl; held out ones validation.jsonl) or a counted skip: read
report.json, and skipped.jsonl for file, line and reason; `without_tools` there counts rows whose calls name no tool on
offer (give --tools). Memory holds one record at a time; a JSON array, or the `simulations` of a results file, may be of
any length.
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Parse and run; a user's mistake is one line on stderr and status 2, a failed rank its status."""
    arguments = parser().parse_args(argv)
    from pivot.launch import RankFailed

    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"pivot: {error}", file=sys.stderr)
        sys.exit(2)
    except RankFailed as error:
        if error.status != 2:  # 2: the rank has said what the user can fix
            print(f"pivot: {error}; what ranks printed is above", file=sys.stderr)
        sys.exit(error.status if 0 < error.status < 128 else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    """The commands, each with an example in its `--help`."""
    top = argparse.ArgumentParser(
        prog="pivot", description="PivotRL: train an agent on the turns of its own trajectories that carry a signal.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"pivotrl {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_convert(commands)
    for name, (about, example) in RUNS.items():
        command = add(commands, name, about, example, partial(run_recipe, name))
        command.add_argument("--config", metavar="RECIPE", help=f"one of {', '.join(recipes())}, or a YAML file")
        command.add_argument("overrides", nargs="*", metavar="key=value",
                             help="any key of conf/pivotrl.yaml, which documents them all")  # fmt: skip
    add_explain(commands)
    add_verify(commands)
    add_report(commands)
    add_world(commands)
    demo = add(commands, "demo", "the whole loop on the embedded world: mine, train, evaluate, report",
               "pivot demo --out runs/demo --seed 1", run_demo)  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run directory (default: runs/demo)")
    demo.add_argument("--seed", type=int, default=0, help="of sampling and order (default: 0)")
    demo.add_argument("--fresh", action="store_true", help="throw away what an earlier demo left in --out")
    demo.add_argument("overrides", nargs="*", metavar="key=value", help="changes to conf/recipes/demo.yaml")
    return top


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add(
    commands: Commands, name: str, about: str, example: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=about, description=about, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    return command


def add_convert(commands: Commands) -> None:
    from pivot.trajectory.detect import FORMATS
    from pivot.trajectory.split import SPLITS

    command = add(commands, "convert", "cut trajectories at every assistant turn into candidate rows",
                  "pivot convert airline.json --tools tools_airline.json --out data", run_convert)  # fmt: skip
    shapes = "\n".join(f"  {form.name:<15}{form.shape}" for form in FORMATS)
    command.epilog = CONVERT_EPILOG.format(shapes=shapes)
    command.add_argument("inputs", nargs="+", type=Path, metavar="INPUT",
                         help="file, folder, 'glob' or - (stdin); also .parquet, .gz, .zst")  # fmt: skip
    command.add_argument("--out", required=True, type=Path, help="writes candidates.jsonl, report.json, skipped.jsonl")
    command.add_argument("--tools", type=Path, help="JSON list of tools, for formats that do not carry them")
    command.add_argument("--format", dest="form", choices=[form.name for form in FORMATS],
                         help="name the format instead of detecting it by shape, record by record")  # fmt: skip
    command.add_argument("--domain", help="tool_use, swe, terminal or search, which chooses the verifier")
    command.add_argument("--only-successful", action="store_true", help="keep trajectories that ended in success")
    held_out = "hold out this share of the trajectories, whole, in validation.jsonl"
    command.add_argument("--validation", type=float, default=0.0, metavar="SHARE", help=held_out)
    command.add_argument("--split", choices=SPLITS, default="trajectory",
                         help="hold out each trajectory by itself, or all trials of a task together")  # fmt: skip
    command.add_argument("--strict", action="store_true", help="stop at the first row that cannot be read")


def add_explain(commands: Commands) -> None:
    about = "one candidate: history, expert action, samples, verdicts, why it was kept or cut"
    command = add(commands, "explain", about,
                  "pivot explain 3fa2 --store data/mine --candidates data/candidates.jsonl", run_explain)  # fmt: skip
    command.add_argument("candidate_id", help="or its beginning")
    command.add_argument("--store", type=Path, default=Path("data/mine"), help="mine.store (default: data/mine)")
    command.add_argument("--candidates", type=Path, default=Path("data/candidates.jsonl"),
                         help="what was mined (default: data/candidates.jsonl)")  # fmt: skip
    command.add_argument("--pivots", type=Path, help="pivot rows, to say whether it is among them")


def add_verify(commands: Commands) -> None:
    command = add(commands, "verify", "score stored rollouts again, and say where the rewards differ",
                  "pivot verify rollouts.jsonl --verifier tool_call:gym", run_verify)  # fmt: skip
    rows = "rows with a response or a completion; also the rows that they were sampled for"
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help=rows)
    spec = "a name of docs/verify.md, or a JSON object; may be given again (default: by domain)"
    command.add_argument("--verifier", action="append", default=[], metavar="SPEC", help=spec)
    command.add_argument("--out", type=Path, help="write every verdict there, as JSONL")


def add_report(commands: Commands) -> None:
    command = add(commands, "report", "summary table, summary.json and report/index.html of a demo run",
                  "pivot report runs/demo", run_report)  # fmt: skip
    command.add_argument("directory", type=Path, help="what `pivot demo` wrote")


def add_world(commands: Commands) -> None:
    about = "the embedded world: a random tiny MoE, expert trajectories, and the check of a pre-training"
    world = commands.add_parser("world", help=about, description=about)
    parts = world.add_subparsers(title="commands", required=True, metavar="COMMAND")
    init = add(parts, "init", "a random tiny MoE with the world's tokenizer, to pre-train",
               "pivot world init runs/pretrain/init", run_world_init)  # fmt: skip
    init.add_argument("out", type=Path)
    init.add_argument("--seed", type=int, default=0)
    write = add(parts, "trajectories", "expert trajectories as OpenAI-chat JSONL",
                "pivot world trajectories data/train.jsonl --count 100", run_world_trajectories)  # fmt: skip
    write.add_argument("out", type=Path)
    write.add_argument("--count", type=int, default=100)
    write.add_argument("--split", choices=("train", "validation"), default="train")
    write.add_argument("--seed", type=int, default=0)
    pack = add(parts, "pack", "store a pre-trained checkpoint in bfloat16, or compare it with the stored one",
               "pivot world pack runs/pretrain/hf --compare pivot/world/tiny-moe", run_world_pack)  # fmt: skip
    pack.add_argument("checkpoint", type=Path)
    pack.add_argument("--out", type=Path, help="write it here")
    pack.add_argument("--compare", type=Path, help="say whether it matches this one within tolerance")


def run_convert(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from pivot.trajectory.convert import convert
    from pivot.trajectory.inputs import expand, total_bytes
    from pivot.trajectory.progress import ConvertProgress, closing_table

    console = Console(soft_wrap=True)
    with ConvertProgress(console, total_bytes(expand(arguments.inputs))) as bar:
        report = convert(
            arguments.inputs, arguments.out, tools_path=arguments.tools, fmt=arguments.form, domain=arguments.domain,
            only_successful=arguments.only_successful, strict=arguments.strict,
            validation=arguments.validation, split=arguments.split, progress=bar.update,
        )  # fmt: skip
    console.print(closing_table(report, arguments.out))


def run_recipe(name: str, arguments: argparse.Namespace) -> None:
    config = load(arguments.config, arguments.overrides)
    launch_recipe(name, config)


def launch_recipe(name: str, config: Config) -> None:
    """Check what a user gets wrong most, then start the ranks."""
    from pivot.launch import launch
    from pivot.preflight import check

    check(name, config)
    launch(name, config, Path(config.run.dir), config.parallel.ranks)


def run_explain(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from pivot.mine.explain import explain

    explain(arguments.candidate_id, arguments.store, arguments.candidates, arguments.pivots, Console(highlight=False))


def run_verify(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from pivot.verify.tables import verify_files

    verify_files(arguments.files, arguments.verifier, arguments.out, Console(soft_wrap=True, highlight=False))


def run_report(arguments: argparse.Namespace) -> None:
    from pivot.demo.summary import report

    report(arguments.directory)


def run_demo(arguments: argparse.Namespace) -> None:
    from pivot.demo.run import demo

    demo(arguments.out, arguments.seed, arguments.overrides, fresh=arguments.fresh, launch=launch_recipe)


def run_world_init(arguments: argparse.Namespace) -> None:
    from pivot.launch import writable
    from pivot.world.tiny_moe import write_random_checkpoint

    writable(arguments.out)
    parameters = write_random_checkpoint(arguments.out, arguments.seed)
    print(f"{arguments.out}: random tiny MoE, {parameters:,} parameters")


def run_world_trajectories(arguments: argparse.Namespace) -> None:
    from pivot.launch import writable
    from pivot.world.corpus import write_trajectories
    from pivot.world.expert import expert_trajectories

    writable(arguments.out.parent)
    written = write_trajectories(expert_trajectories(arguments.count, arguments.seed, arguments.split), arguments.out)
    print(f"{arguments.out}: {written} expert trajectories")


def run_world_pack(arguments: argparse.Namespace) -> None:
    from pivot.world.pack import compare, pack

    if arguments.out:
        pack(arguments.checkpoint, arguments.out)
    if arguments.compare:
        compare(arguments.checkpoint, arguments.compare)


if __name__ == "__main__":
    main()
