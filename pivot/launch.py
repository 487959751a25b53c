"""Start a recipe on this machine's ranks, with torch's elastic launcher in this process."""

import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from pivot.config import Config, save
from pivot.errors import UserError
from pivot.precision import environment

RECIPES_DIR = Path(__file__).resolve().parent.parent / "recipes"


OUT_OF_MEMORY = (
    " (if nobody sent it, memory ran out: lower train.micro_batch_tokens, rollout.kv_cache_mb or parallel.ranks)"
)


class RankFailed(Exception):
    """A rank ended with an error; it has printed why, unless it was killed."""

    def __init__(self, status: int) -> None:
        killed = f"a rank was killed by signal {-status}{OUT_OF_MEMORY if status == -signal.SIGKILL else ''}"
        super().__init__(killed if status < 0 else f"a rank ended with status {status}")
        self.status = status


def launch(recipe: str, config: Config, directory: Path, ranks: int) -> None:
    """Run `recipes/<recipe>.py` on `ranks` local processes with the resolved configuration in `directory`.

    Raises:
        UserError: the project isn't installed from a clone, or `directory` cannot be written.
        RankFailed: a rank failed.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    script = RECIPES_DIR / f"{recipe}.py"
    if not script.is_file():
        raise UserError(f"{script} is missing: install the project from its clone (make install)")
    writable(directory)
    save(config, directory / f"{recipe}.yaml")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
    os.environ.update(environment(config.precision))  # read when Transformer Engine is imported
    settings = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=ranks, max_restarts=0, run_id=f"{recipe}-{os.getpid()}",
        rdzv_backend="c10d", rdzv_endpoint=f"127.0.0.1:{free_port()}", local_addr="127.0.0.1",
        monitor_interval=0.2, start_method="spawn", signals_to_handle="SIGTERM,SIGINT",
    )  # fmt: skip
    quiet_launcher()
    try:
        elastic_launch(settings, sys.executable)(
            "-u",
            str(script),
            f"--config-path={directory.resolve()}",
            f"--config-name={recipe}",
            "hydra.job.chdir=false",
        )
    except ChildFailedError as error:
        raise RankFailed(error.get_first_failure()[1].exitcode) from None
    except SignalException as error:
        raise RankFailed(128 + error.sigval) from None


def quiet_launcher() -> None:
    """The elastic agent logs a stack of warnings when a child fails; the child has said what matters."""
    import logging

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)


def free_port() -> int:
    """A TCP port that is free on the loopback interface now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def writable(directory: Path) -> None:
    """Make the directory, or say why it cannot be written.

    Raises:
        UserError: naming the path and the fix.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UserError(f"{directory}: cannot write here ({error.strerror}); choose another directory") from None
