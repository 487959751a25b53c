"""Start a recipe on this machine's ranks, with torch's elastic launcher in this process."""

import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pivot.attempt.directory import KILLED, STOPPED, VARIABLE, Attempt, Failure, make
from pivot.config import Config, save
from pivot.errors import UserError
from pivot.precision import environment

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

RECIPES_DIR = Path(__file__).resolve().parent.parent / "recipes"


class RankFailed(Exception):
    """A rank ended with an error; it has printed why, unless it was killed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class StoppedEarly(Exception):
    """The program was asked to stop, has saved what it had, and goes on when it is started again."""


def launch(recipe: str, config: Config, directory: Path, ranks: int) -> None:
    """Run `recipes/<recipe>.py` on `ranks` local processes with the resolved configuration in `directory`.

    SIGTERM, SIGINT and SIGUSR1 ask the program to save and end; a second one, to end at once.

    Raises:
        UserError: the project isn't installed from a clone, or `directory` cannot be written.
        RankFailed: a rank failed.
        StoppedEarly: it was asked to stop before it was done.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    script = RECIPES_DIR / f"{recipe}.py"
    if not script.is_file():
        raise UserError(f"{script} is missing: install the project from its clone (make install)")
    writable(directory)
    save(config, directory / f"{recipe}.yaml")
    attempt = make(directory.resolve())
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # read when torch is imported
    os.environ.update(environment(config.precision))  # read when Transformer Engine is imported
    os.environ[VARIABLE] = str(attempt.directory)
    settings = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=ranks, max_restarts=0, run_id=f"{recipe}-{os.getpid()}",
        rdzv_backend="c10d", rdzv_endpoint=f"127.0.0.1:{free_port()}", local_addr="127.0.0.1",
        monitor_interval=0.2, start_method="spawn", signals_to_handle="SIGHUP,SIGQUIT",
        logs_specs=DefaultLogsSpecs(os.devnull),  # else it makes a temporary directory that nothing removes
    )  # fmt: skip
    quiet_launcher()
    try:
        with stopping(attempt):
            elastic_launch(settings, sys.executable)(
                "-u",
                str(script),
                f"--config-path={directory.resolve()}",
                f"--config-name={recipe}",
                "hydra.job.chdir=false",
            )
    except ChildFailedError as error:
        raise failed(attempt, error) from None
    except SignalException as error:
        raise RankFailed(128 + error.sigval, f"ended by {error.sigval.name}") from None
    finally:
        del os.environ[VARIABLE]
    outcome = attempt.outcome()
    if outcome is not None and outcome.outcome == STOPPED:
        raise StoppedEarly(outcome.reason)


@contextmanager
def stopping(attempt: Attempt) -> Iterator[None]:
    """Signals to this process become requests to the program: the first to save and end, a second to end at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            attempt.request_abort()
            return
        asked = True
        name = signal.Signals(number).name.removeprefix("SIG")
        attempt.request_stop(name)
        print(f"pivot: {name}: saving, then ending; once more to end at once", file=sys.stderr, flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def failed(attempt: Attempt, error: "ChildFailedError") -> RankFailed:
    """What to say about ranks that failed. A rank that was killed has left no word: it is written here."""
    rank, first = error.get_first_failure()
    if attempt.aborted():
        return RankFailed(first.exitcode, "asked to end at once: nothing was saved")
    if first.exitcode < 0:
        reason = KILLED if first.exitcode == -signal.SIGKILL else f"killed by signal {-first.exitcode}"
        attempt.write_failure(Failure(rank, socket.gethostname(), float(first.timestamp), reason))
    return RankFailed(first.exitcode, str(next(iter(attempt.failures()), f"a rank ended with status {first.exitcode}")))


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
