"""The batch script of a job: a template of `slurm/` with the header and the variables that a configuration asks for."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pivot.cluster_options import WORD, ClusterSection
from pivot.config import Config
from pivot.errors import UserError
from pivot.precision import environment

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {"train": "train", "sft": "train", "mine": "mine", "evaluate": "evaluate", "export": "evaluate"}
SETUP = "# cluster.setup goes here"
UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")


@dataclass(frozen=True, slots=True)
class Job:
    """What a script is made of.

    Attributes:
        recipe: the program.
        run_dir: of the run, absolute.
        directory: where the job runs, absolute: relative paths of the configuration start here.
        cluster: what is asked of Slurm.
        variables: what the ranks need before their Python starts, as `of_ranks` has it.
        root: the project's clone, absolute.
        chain: name of the chain that the job is part of.
    """

    recipe: str
    run_dir: Path
    directory: Path
    cluster: ClusterSection
    variables: Mapping[str, str]
    root: Path = ROOT
    chain: str | None = None

    @property
    def name(self) -> str:
        """Of the job: one at a time has it (--dependency=singleton), so it stands for the run directory."""
        digest = hashlib.sha256(str(self.run_dir).encode()).hexdigest()[:6]
        return f"{self.recipe}-{UNSAFE.sub('_', self.run_dir.name)}-{digest}"

    @property
    def path(self) -> Path:
        """Where the script is kept."""
        return self.run_dir / "launch" / f"{self.recipe}.sbatch"

    @property
    def array(self) -> int | None:
        """Tasks of the job array; None: no array."""
        return self.cluster.array if self.recipe == "mine" else None


def of_ranks(config: Config) -> dict[str, str]:
    """What the ranks of a configuration need before their Python starts."""
    return {**environment(config.precision), **config.cluster.env}


def script(job: Job, template: str) -> str:
    """The whole script.

    Args:
        job: what to run.
        template: text of the file in `slurm/`; its header is replaced and its body kept.

    Raises:
        UserError: a path cannot stand in a header line.
    """
    body = template[template.index("\nset -uo pipefail") + 1 :]
    setup = ["set +u", *job.cluster.setup, "set -u"] if job.cluster.setup else []
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in header(job)),
        f"# Made by `pivot launch {job.recipe}`; {job.recipe}.yaml in RUN_DIR is the configuration.",
        "",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables(job).items()),
        "",
        body.replace(SETUP, "\n".join(setup)) if setup else body.replace(SETUP + "\n", ""),
    ]
    return "\n".join(lines)


def header(job: Job) -> list[str]:
    """The options of sbatch.

    Raises:
        UserError: a path cannot stand in a header line.
    """
    cluster = job.cluster
    options: dict[str, object] = {
        "job-name": job.name,
        "account": cluster.account,
        "partition": cluster.partition,
        "qos": cluster.qos,
        "reservation": cluster.reservation,
        "constraint": cluster.constraint,
        "exclude": cluster.exclude,
        "nodes": cluster.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": cluster.gpus_per_node or None,
        "cpus-per-task": cluster.cpus_per_task,
        "exclusive": cluster.exclusive,
        "mem": 0 if cluster.exclusive else None,
        "time": cluster.time,
        "signal": f"B:USR1@{cluster.signal_seconds}",
        "requeue": True,
        "open-mode": "append",
        "chdir": in_header("the current directory", job.directory),
        "output": f"{in_header('run.dir', job.run_dir)}/slurm-%x-{'%A_%a' if job.array else '%j'}.log",
        "array": f"0-{job.array - 1}" if job.array else None,
        "dependency": "singleton" if job.array is None else None,
    }
    given = [(name, value) for name, value in options.items() if value is not None and value is not False]
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given] + list(cluster.sbatch)


def in_header(what: str, path: Path) -> str:
    """A path for an #SBATCH line, which knows no quoting that every version agrees on.

    Raises:
        UserError: it has characters that end or change the line.
    """
    text = str(path)
    if not WORD.fullmatch(text):
        raise UserError(f"{what} {text!r} has characters that no #SBATCH line can hold: use letters, digits and ._-/")
    return text


def variables(job: Job) -> dict[str, str]:
    """What `slurm/lib.sh` reads, then what the ranks read."""
    cluster = job.cluster
    values = {
        "RUN_DIR": str(job.run_dir),
        "PIVOT_ROOT": str(job.root),
        "PIVOT_RECIPE": job.recipe,
        "PIVOT_PYTHON": f"{cluster.venv}/bin/python" if cluster.venv else cluster.python,
        "PIVOT_RANKS_PER_NODE": str(cluster.ranks_on_node),
        "PIVOT_SAVE_SECONDS": str(cluster.save_seconds),
        "PIVOT_MAX_RESTARTS": str(cluster.max_restarts),
        "PIVOT_MAX_CRASHES": str(cluster.max_crashes),
        "PIVOT_MIN_DISK_GB": f"{cluster.min_disk_gb:g}",
        "PIVOT_MIN_SHM_GB": f"{cluster.min_shm_gb:g}",
    }
    if cluster.image:
        values |= {"PIVOT_IMAGE": cluster.image, "PIVOT_MOUNTS": ",".join(cluster.mounts)}
    if job.chain:
        values |= {"PIVOT_CHAIN": job.chain, "PIVOT_REQUEUE": "0"}
    return values | dict(job.variables)
