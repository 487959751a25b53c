"""`pivot plan`."""

import json
import sys

from rich.console import Console

from pivot.config import load
from pivot.ops.plan.job import job
from pivot.ops.plan.report import as_json, make, show

WIDTH = 160
"""Columns of what is written to a file or a pipe."""


def plan(recipe: str | None, overrides: list[str], *, gpu: str | None, layouts: int, as_text: bool) -> int:
    """Plans a training run and prints it.

    Args:
        recipe: as of `pivot train`.
        overrides: likewise.
        gpu: in place of the configuration's.
        layouts: other layouts to show.
        as_text: tables; False: JSON.

    Returns:
        The exit status: 0 it fits, 1 it does not.

    Raises:
        UserError: a mistake in the configuration, or a model that cannot be counted.
    """
    config = load(recipe, overrides)
    device = gpu or config.plan.gpu
    found = make(config.run.name, device, config.train.steps, job(config, device), layouts)
    if as_text:
        show(found, Console(width=None if sys.stdout.isatty() else WIDTH, soft_wrap=True, highlight=False), layouts)
    else:
        print(json.dumps(as_json(found, layouts), indent=1))
    return int(bool(found.problems))
