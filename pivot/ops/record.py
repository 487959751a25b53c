"""How a run was started (`launch.json`), so that `pivot resume RUN_DIR` needs nothing else."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pivot.errors import UserError
from pivot.trajectory.atomic import atomic_write

FILE = "launch.json"
LOCAL, SLURM = "local", "slurm"


@dataclass(frozen=True, slots=True)
class Started:
    """A start.

    Attributes:
        recipe: the program; `RUN_DIR/<recipe>.yaml` is its configuration.
        how: `local` on this machine's ranks, or `slurm`.
        directory: where it was started: relative paths begin there.
    """

    recipe: str
    how: str
    directory: str


def write(run_dir: Path, started: Started) -> None:
    """Remember a start."""
    with atomic_write(run_dir / FILE) as file:
        file.write(json.dumps(asdict(started)) + "\n")


def read(run_dir: Path) -> Started:
    """The newest start of a run directory.

    Raises:
        UserError: nothing was started there.
    """
    path = run_dir / FILE
    try:
        found = Started(**json.loads(path.read_text()))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the run.dir of a run that `pivot` has started") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); start the run again with its own command") from None
    if found.how not in (LOCAL, SLURM):
        raise UserError(f"{path}: how is {found.how!r}, it must be {LOCAL} or {SLURM}")
    return found
