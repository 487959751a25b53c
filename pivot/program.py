"""What every program that runs on ranks does first and last: `@program` makes a recipe's `main` a NeMo one.

Import this before anything of NeMo's: it quiets library chatter that starts at import, and on a CPU it prepares
Megatron-core, which NeMo imports (`pivot.policy`).
"""

import ctypes
import logging
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from omegaconf import DictConfig

from pivot.config import CONF_DIR, Config, from_dictconfig
from pivot.errors import UserError

RANK_0_FIRST = 3.0  # seconds
CAUSE_FIRST = 1.0  # seconds in which a rank that is gone is noticed, before those that lost it say so
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHATTY = (
    "lightning.pytorch",
    "lightning.fabric",
    "nv_one_logger",
    "torch.distributed",
    "torch._library.triton",
    "megatron.core",
)


def quiet() -> None:
    """Silence what says nothing about the run; errors stay visible."""
    for category in (FutureWarning, UserWarning, DeprecationWarning, SyntaxWarning):
        warnings.filterwarnings("ignore", category=category)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("nemo_logger").addFilter(meant)


def meant(record: logging.LogRecord) -> bool:
    """Not NeMo's complaint about several nodes without srun's processes: here torchrun starts them."""
    return "without SLURM" not in record.getMessage()


quiet()

from pivot.policy import CheckpointError  # noqa: E402  (prepares Megatron, so it comes before NeMo)

# isort: split
from pivot import ranks  # noqa: E402
from pivot.attempt.monitor import leave  # noqa: E402
from pivot.attempt.running import Running, Stopped  # noqa: E402

# isort: split
from nemo.core.config import hydra_runner  # noqa: E402
from nemo.utils import logging as nemo_logging  # noqa: E402


def program(main: Callable[[Config, Running], int | None]) -> Callable[[], None]:
    """Wrap a recipe: configuration by NeMo's `hydra_runner`, checked; how it ends, for whoever starts it again.

    `main` returns how many steps are done, if it counts steps. It may raise `Stopped` where all ranks do, with all
    that is to be kept on disk: then the program ends with status 0. A user's mistake is one line and status 2.
    """

    @hydra_runner(config_path=str(CONF_DIR), config_name="pivotrl")
    def run(raw: DictConfig) -> None:
        die_with_parent()
        quiet()
        nemo_logging.setLevel(logging.ERROR)
        running: Running | None = None
        try:
            config = from_dictconfig(raw)
            running = Running.of_environment(config.run.hang_after)
            with Recorded(running):
                running.start()
                finish(main, config, running)
        except (UserError, CheckpointError) as error:
            if os.environ.get("RANK", "0") != "0":
                # A mistake that every rank meets is said once: rank 0 says it and leaves, and the launcher ends us.
                time.sleep(RANK_0_FIRST)
            print(f"pivot: {error}", file=sys.stderr, flush=True)
            if running is not None:
                running.refused(str(error))
            leave(2)  # other ranks may be waiting in a collective: leave without their leave

    return run


@dataclass(frozen=True, slots=True)
class Recorded:
    """Writes down what ends the program, and lets it; a mistake of the user's is said elsewhere."""

    running: Running

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None or isinstance(error, (UserError, CheckpointError)):
            return
        lost = ranks.lost_another(error)
        time.sleep(CAUSE_FIRST if lost else 0)
        self.running.failed(described(error), consequence=lost)


def finish(main: Callable[[Config, Running], int | None], config: Config, running: Running) -> None:
    """Run a recipe to its end, or until all its ranks stop; rank 0 says which it was."""
    try:
        step = main(config, running)
    except Stopped as stop:
        ranks.barrier()  # what any rank has to write is written
        if ranks.rank() == 0:
            print(stop, flush=True)
        running.stopped(stop)
    else:
        running.done(step)


def described(error: BaseException) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(": ")


def die_with_parent() -> None:
    """Linux kills this process when its launcher dies, so that no orphan keeps writing into a run directory."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died before we asked
            os._exit(1)
