"""What every program that runs on ranks does first and last: `@program` makes a recipe's `main(config)` a NeMo one.

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

from omegaconf import DictConfig

from pivot.config import CONF_DIR, Config, from_dictconfig
from pivot.errors import UserError

RANK_0_FIRST = 3.0  # seconds
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


quiet()

from pivot.policy import CheckpointError  # noqa: E402  (prepares Megatron, so it comes before NeMo)

# isort: split
from nemo.core.config import hydra_runner  # noqa: E402
from nemo.utils import logging as nemo_logging  # noqa: E402


def program(main: Callable[[Config], None]) -> Callable[[], None]:
    """Wrap a recipe: configuration by NeMo's `hydra_runner`, checked; a user's mistake is one line and status 2."""

    @hydra_runner(config_path=str(CONF_DIR), config_name="pivotrl")
    def run(raw: DictConfig) -> None:
        die_with_parent()
        quiet()
        nemo_logging.setLevel(logging.ERROR)
        try:
            main(from_dictconfig(raw))
        except (UserError, CheckpointError) as error:
            if os.environ.get("RANK", "0") != "0":
                # A mistake that every rank meets is said once: rank 0 says it and leaves, and the launcher ends us.
                time.sleep(RANK_0_FIRST)
            sys.stdout.flush()
            print(f"pivot: {error}", file=sys.stderr, flush=True)
            os._exit(2)  # other ranks may be waiting in a collective: leave without their leave

    return run


def die_with_parent() -> None:
    """Linux kills this process when its launcher dies, so that no orphan keeps writing into a run directory."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it died before we asked
            os._exit(1)
