"""The effects of `pivot launch`: Slurm's own commands, and what their complaints mean."""

import re
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from pivot.cluster_options import ClusterSection
from pivot.errors import UserError

POLL_SECONDS = 2.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")


def submit(script: Path | str, cluster: ClusterSection, options: Sequence[str] = ()) -> str:
    """Hand a script to Slurm.

    Args:
        script: its path, or its text, which is given to sbatch as input.
        cluster: what was asked for, to explain a refusal.
        options: of sbatch, before the script.

    Returns:
        The job's number; with --test-only what sbatch says.

    Raises:
        UserError: there is no Slurm here, or it refuses; with the fix.
    """
    path, text = ([str(script)], None) if isinstance(script, Path) else ([], script)
    done = run(["sbatch", "--parsable", *options, *path], text)
    if done.returncode:
        raise UserError(refusal(done.stderr, cluster))
    return (done.stdout.strip() or done.stderr.strip()).split(";")[0]


def check_fit(script: Path, cluster: ClusterSection) -> None:
    """Slurm may take a job that no nodes of the partition can ever run, and leave it in the queue for good.

    Raises:
        UserError: it is such a job; with the fix.
    """
    done = run(["sbatch", "--test-only", str(script)])
    if "node configuration is not available" in done.stderr:
        raise UserError(refusal(done.stderr, cluster))


def run(command: Sequence[str], text: str | None = None) -> subprocess.CompletedProcess[str]:
    """One of Slurm's commands, to its end.

    Raises:
        UserError: it is not installed here.
    """
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]}: no such command here; run this on a login node of the cluster (--dry-run "
                        "shows the script anywhere)") from None  # fmt: skip


def refusal(said: str, cluster: ClusterSection) -> str:
    """A complaint of sbatch's in one line, with the key to change."""
    lines = [re.sub(r"^(sbatch|allocation failure): (error: )?", "", each.strip()) for each in said.splitlines()]
    first = next((each for each in lines if each), "no reason given")
    where = f"partition {cluster.partition}" if cluster.partition else "the default partition"
    for pattern, fix in (
        ("invalid partition", f"set cluster.partition ({cluster.partition}); sinfo -s lists the partitions"),
        ("nvalid account", f"set cluster.account ({cluster.account}); sacctmgr show associations lists yours"),
        ("[Nn]ode count|node configuration is not available|odes required for job",
         f"{where} has {available(cluster.partition)}; change cluster.nodes ({cluster.nodes}), gpus_per_node "
         f"({cluster.gpus_per_node}), cpus_per_task ({cluster.cpus_per_task}) or constraint ({cluster.constraint})"),
        ("time limit", f"lower cluster.time ({cluster.time}); sinfo -o '%P %l' shows the limits"),
        ("nvalid generic resource|Invalid GRES|[Ii]nvalid feature",
         f"change cluster.gpus_per_node ({cluster.gpus_per_node}) or constraint ({cluster.constraint}); "
         "sinfo -o '%P %G %f' shows what there is"),
    ):  # fmt: skip
        if any(re.search(pattern, each) for each in lines):
            return f"Slurm refuses the job: {first}: {fix}"
    return f"Slurm refuses the job: {first}"


def available(partition: str | None) -> str:
    """What a partition has, as `2 nodes (gpu:h100:8)`; the default one, when none is named."""
    asked = ["sinfo", "-h", "-o", "%P|%D|%G", *(["-p", partition] if partition else [])]
    try:
        rows = [row.split("|") for row in run(asked).stdout.splitlines()]
    except UserError:
        rows = []
    found = [f"{count} nodes ({gres})" for name, count, gres in rows if partition or name.endswith("*")]
    return " and ".join(found) or "fewer"


def going_on(jobs: Sequence[str]) -> bool:
    """Whether Slurm still has one of the jobs pending or running."""
    states = run(["squeue", "-h", "-j", ",".join(jobs), "-o", "%T"]).stdout.split()
    return any(state not in ENDED for state in states)


def follow(jobs: Sequence[str], logs: Sequence[Path], run_dir: Path) -> None:
    """Print what jobs write, their scripts' and their first nodes' ranks', until they have ended."""
    tails = {path: path.stat().st_size for path in rank_logs(run_dir)}
    try:
        while True:
            more = going_on(jobs)
            for path in [*logs, *rank_logs(run_dir)]:
                tails[path] = show(path, tails.get(path, 0))
            if not more:
                return
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        print(
            f"\nthe job goes on; pivot launch --status {run_dir} shows its attempts, scancel {' '.join(jobs)} ends it"
        )


def rank_logs(run_dir: Path) -> list[Path]:
    """What the ranks of the first node wrote, by attempt."""
    return sorted(run_dir.glob("attempts/*/rank-node0.log"))


def show(path: Path, start: int) -> int:
    """Print a file from a position on; the position after it."""
    if not path.is_file():
        return start
    with path.open("rb") as file:
        file.seek(start)
        text = file.read()
    if text:
        print(text.decode("utf-8", "replace"), end="", flush=True)
    return start + len(text)
