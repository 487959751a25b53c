"""`pivot launch` and `pivot resume`: from a configuration, or a run directory that has one, to a submitted job."""

import dataclasses
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from pivot.attempt.lock import LOCKING, Holder, refuse_if_live
from pivot.config import Config, from_dictconfig, overridden, save
from pivot.errors import UserError
from pivot.launch import writable
from pivot.ops import changes, record
from pivot.ops.render import ROOT, TEMPLATES, Job, of_ranks, script
from pivot.ops.submit import check_fit, follow, submit
from pivot.preflight import check, check_layout

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "devtmpfs")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for beside the configuration.

    Attributes:
        dry_run: print the script and the configuration, and write nothing.
        test_only: let sbatch check the script, and write nothing.
        follow: print what the job writes until it ends.
        chain: jobs, each of which starts when the one before has ended.
        accept: go on although the configuration is not that of the checkpoints.
    """

    dry_run: bool = False
    test_only: bool = False
    follow: bool = False
    chain: int = 1
    accept: bool = False


def launch(recipe: str, config: Config, options: Options) -> None:
    """Render, check and submit.

    Raises:
        UserError: what is wrong with the configuration, the run directory or the cluster.
    """
    config = for_cluster(config)
    cluster, run_dir = config.cluster, Path(config.run.dir)
    inputs_ok(recipe, config)
    if not options.accept:
        changes.check(recipe, config, run_dir)
    job = Job(
        recipe, run_dir, Path.cwd(), cluster, of_ranks(config),
        chain=secrets.token_hex(4) if options.chain > 1 else None,
    )  # fmt: skip
    text = script(job, (ROOT / "slurm" / f"{TEMPLATES[recipe]}.sbatch").read_text())
    if options.dry_run:
        print(text)
        print("\n".join(f"# {line}" for line in [f"{run_dir}/{recipe}.yaml:", *to_yaml(config).splitlines()]))
    if options.test_only:
        print(submit(text, cluster, ["--test-only"]))
    if options.dry_run or options.test_only:
        return
    if recipe in LOCKING:
        refuse_if_live(run_dir, Holder.this())
    not_in_memory(run_dir, cluster.nodes)
    writable(run_dir)
    save(config, run_dir / f"{recipe}.yaml")
    record.write(run_dir, record.Started(recipe, record.SLURM, str(job.directory)))
    job.path.parent.mkdir(exist_ok=True)
    job.path.write_text(text)
    job.path.with_suffix(".env").unlink(missing_ok=True)  # of a script that was started by hand
    check_fit(job.path, cluster)
    submit_chain(job, options)


def submit_chain(job: Job, options: Options) -> None:
    """Submit one job, or several one after the other."""
    numbers: list[str] = []
    for _ in range(options.chain):
        after = [f"--dependency=singleton,afterany:{numbers[-1]}"] if numbers else []
        numbers.append(number := submit(job.path, job.cluster, after))
        print(f"submitted job {number}: {job.recipe} on {job.cluster.nodes} nodes; log: {log(job, number)}")
    print(f"its attempts: pivot launch --status {job.run_dir}")
    if options.follow:
        follow(numbers, [log(job, number) for number in numbers], job.run_dir)


def log(job: Job, number: str) -> Path:
    """What the batch script of a job prints; of an array, its first task's."""
    return job.run_dir / f"slurm-{job.name}-{number}{'_0' if job.array else ''}.log"


def for_cluster(config: Config) -> Config:
    """The configuration as the job has it: the run directory by its full path, the world of all its nodes."""
    return dataclasses.replace(
        config,
        run=dataclasses.replace(config.run, dir=str(Path(config.run.dir).resolve())),
        parallel=dataclasses.replace(config.parallel, ranks=config.cluster.world),
    )


def inputs_ok(recipe: str, config: Config) -> None:
    """What can be known before the job runs. Paths in a container are looked at by the job itself.

    Raises:
        UserError: naming the key and the fix.
    """
    cluster = config.cluster
    try:
        if cluster.image:
            check_layout(recipe, config)
        else:
            check(recipe, config)
    except UserError as error:
        asked = f"{cluster.nodes} nodes x {cluster.ranks_on_node} ranks = {cluster.world}"
        raise UserError(f"{error} ({asked})" if "ranks do not divide" in str(error) else str(error)) from None


def not_in_memory(run_dir: Path, nodes: int) -> None:
    """A directory in this machine's memory is no directory of the nodes'.

    Raises:
        UserError: it is one, and there are several nodes.
    """
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = max((m for m in mounts if run_dir.is_relative_to(m[1])), key=lambda m: len(m[1]))
    if nodes > 1 and found[2] in MEMORY_FILE_SYSTEMS:
        raise UserError(f"run.dir={run_dir} is not shared: {found[1]} is this machine's memory; choose a directory on "
                        "a file system that every node mounts")  # fmt: skip


def to_yaml(config: Config) -> str:
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def saved(run_dir: Path, recipe: str, overrides: Sequence[str]) -> Config:
    """The configuration that a run directory holds, with changes.

    Raises:
        UserError: it is not there, or cannot be used.
    """
    path = run_dir / f"{recipe}.yaml"
    try:
        raw = OmegaConf.load(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; start the run again with its own command") from None
    here = [*overrides, f"run.dir={run_dir.resolve()}"]
    return from_dictconfig(overridden(raw, here))  # type: ignore[arg-type]


def go_where_it_started(started: record.Started) -> None:
    """Relative paths of a configuration begin where the run was started."""
    try:
        os.chdir(started.directory)
    except OSError as error:
        raise UserError(f"{started.directory}, where the run was started, cannot be entered ({error.strerror}); start "
                        "it again with its own command") from None  # fmt: skip
