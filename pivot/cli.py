"""`pivot`: the command line. Thin: each command parses, checks what can be checked at once, and calls a room."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pivot import __version__
from pivot.cli_parts import Commands, add, add_configuration
from pivot.cli_world import add_world
from pivot.config import Config, load
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


ACCEPT = "go on from checkpoints that another configuration has made"

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
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    if rest:  # key=value after an option: argparse takes positional arguments in one piece only
        if "overrides" not in arguments or any(word.startswith("-") for word in rest):
            top.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.overrides += rest
    from pivot.launch import RankFailed, StoppedEarly

    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"pivot: {error}", file=sys.stderr)
        sys.exit(2)
    except RankFailed as error:
        if error.status != 2:  # 2: the rank has said what the user can fix
            print(f"pivot: {error}; what ranks printed is above", file=sys.stderr)
        sys.exit(error.status if 0 < error.status < 128 else 1)
    except StoppedEarly:
        pass  # saved, as was asked for; it has been said
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
        add_configuration(command)
        command.add_argument("--accept", action="store_true", help=ACCEPT)
    add_launch(commands)
    add_resume(commands)
    add_explain(commands)
    add_verify(commands)
    add_report(commands)
    add_doctor(commands)
    add_plan(commands)
    add_world(commands)
    demo = add(commands, "demo", "the whole loop on the embedded world: mine, train, evaluate, report",
               "pivot demo --out runs/demo --seed 1", run_demo)  # fmt: skip
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="run directory (default: runs/demo)")
    demo.add_argument("--seed", type=int, default=0, help="of sampling and order (default: 0)")
    demo.add_argument("--fresh", action="store_true", help="throw away what an earlier demo left in --out")
    demo.add_argument("--accept", action="store_true", help=ACCEPT)
    demo.add_argument("overrides", nargs="*", metavar="key=value", help="changes to conf/recipes/demo.yaml")
    return top


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


def add_launch(commands: Commands) -> None:
    command = add(commands, "launch", "run a recipe on a Slurm cluster, over any number of nodes and restarts",
                  "pivot launch train --config demo --nodes 2 run.dir=SHARED/first cluster.partition=P --dry-run",
                  run_launch)  # fmt: skip
    command.add_argument("recipe", nargs="?", choices=("mine", "train", "sft", "evaluate", "export"))
    add_configuration(command)
    command.add_argument("--nodes", type=int, help="the same as cluster.nodes=…")
    command.add_argument("--dry-run", action="store_true", help="print script and configuration, write nothing")
    command.add_argument("--test-only", action="store_true", help="let sbatch check the script, write nothing")
    command.add_argument("--follow", action="store_true", help="print what the job writes until it ends")
    command.add_argument("--chain", type=int, default=1, metavar="N",
                         help="N jobs one after the other, where jobs cannot be requeued")  # fmt: skip
    command.add_argument("--accept", action="store_true", help=ACCEPT)
    command.add_argument("--status", type=Path, metavar="RUN_DIR", help="instead: the attempts of a run")


def add_resume(commands: Commands) -> None:
    command = add(commands, "resume", "start a run again the way it was started, from its newest checkpoint",
                  "pivot resume runs/first", run_resume)  # fmt: skip
    command.add_argument("directory", type=Path, metavar="RUN_DIR", help="run.dir of a run that `pivot` has started")
    command.add_argument("--follow", action="store_true", help="under Slurm: print what the job writes until it ends")
    command.add_argument("--accept", action="store_true", help=ACCEPT)
    command.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the configuration it has")


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


def add_doctor(commands: Commands) -> None:
    command = add(
        commands, "doctor", "is this machine, or this node of an allocation, fit for a recipe: status 0 or 1",
        "pivot doctor --config demo run.dir=runs/first data.pivots=data/pivots.jsonl", run_doctor,
    )  # fmt: skip
    add_configuration(command)
    command.add_argument("--for", dest="program", choices=("train", "mine", "sft"), default="train",
                         help="the program whose inputs and layout are checked (default: train)")  # fmt: skip
    command.add_argument("--json", action="store_true", help="print only JSON, with keys that stay (docs/doctor.md)")
    command.add_argument("--no-smoke", action="store_true", help="leave out the short run on the real libraries")


def add_plan(commands: Commands) -> None:
    from pivot.ops.plan.hardware import DEVICES

    about = (
        "memory of a GPU and seconds of a step before paying for them, and layouts that fit (exit 1: it does not fit)"
    )
    command = add(
        commands, "plan", about, "pivot plan --config qwen3_30b_tau2_4n --gpu h200 rollout.tensor=4", run_plan
    )
    add_configuration(command)
    command.add_argument("--gpu", choices=sorted(DEVICES), help="in place of plan.gpu")
    command.add_argument("--layouts", type=int, default=5, metavar="N", help="other layouts to show (default: 5)")
    command.add_argument("--json", action="store_true", help="all numbers, in bytes and seconds, with what is assumed")


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
    launch_recipe(name, config, accept=arguments.accept)


def launch_recipe(name: str, config: Config, *, accept: bool = False) -> None:
    """Check what a user gets wrong most, then start the ranks."""
    from pivot.attempt.lock import LOCKING, Holder, refuse_if_live
    from pivot.launch import launch, writable
    from pivot.ops import changes, record
    from pivot.preflight import check

    check(name, config)
    directory = Path(config.run.dir)
    if name in LOCKING:
        refuse_if_live(directory, Holder.this())
    writable(directory)
    if not accept:
        changes.check(name, config, directory)
    record.write(directory, record.Started(name, record.LOCAL, str(Path.cwd())))
    launch(name, config, directory, config.parallel.ranks)


def run_launch(arguments: argparse.Namespace) -> None:
    from pivot.ops.start import Options, launch

    if arguments.status:
        from pivot.ops.status import print_status

        return print_status(arguments.status)
    if not arguments.recipe:
        raise UserError("name what to launch, as in pivot launch train, or give --status RUN_DIR")
    nodes = [] if arguments.nodes is None else [f"cluster.nodes={arguments.nodes}"]
    options = Options(
        arguments.dry_run, arguments.test_only, arguments.follow, max(arguments.chain, 1), arguments.accept
    )
    launch(arguments.recipe, load(arguments.config, [*arguments.overrides, *nodes]), options)


def run_resume(arguments: argparse.Namespace) -> None:
    from pivot.ops import record, start

    started = record.read(arguments.directory)
    config = start.saved(arguments.directory, started.recipe, arguments.overrides)
    start.go_where_it_started(started)
    if started.how == record.SLURM:
        start.launch(started.recipe, config, start.Options(follow=arguments.follow, accept=arguments.accept))
    else:
        launch_recipe(started.recipe, config, accept=arguments.accept)


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


def run_doctor(arguments: argparse.Namespace) -> None:
    try:
        from pivot.ops.doctor.command import doctor

        config = load(arguments.config, arguments.overrides)
    except ModuleNotFoundError as error:
        raise UserError(f"no package {error.name}, which every command needs: make install") from None
    if not doctor(arguments.program, config, smoke=not arguments.no_smoke, as_json_only=arguments.json):
        sys.exit(1)


def run_plan(arguments: argparse.Namespace) -> None:
    from pivot.ops.plan.command import plan

    settings = {"gpu": arguments.gpu, "layouts": max(0, arguments.layouts), "as_text": not arguments.json}
    sys.exit(plan(arguments.config, arguments.overrides, **settings))


def run_demo(arguments: argparse.Namespace) -> None:
    from pivot.demo.run import demo

    demo(arguments.out, arguments.seed, arguments.overrides, fresh=arguments.fresh,
         launch=partial(launch_recipe, accept=arguments.accept))  # fmt: skip


if __name__ == "__main__":
    main()
