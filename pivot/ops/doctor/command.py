"""`pivot doctor`: examine, then print."""

from rich.console import Console

from pivot.config import Config
from pivot.ops.doctor.examine import examine
from pivot.ops.doctor.show import as_json, print_table


def doctor(program: str, config: Config, *, smoke: bool, as_json_only: bool) -> bool:
    """Print the report of this node; whether it is fit.

    Args:
        program: that is to run, as "train".
        config: of it.
        smoke: whether to end with a short run on the real libraries.
        as_json_only: JSON on standard output, and nothing else.
    """
    with Console(stderr=True, quiet=as_json_only).status("looking around") as status:
        report = examine(program, config, smoke=smoke, say=status.update)
    if as_json_only:
        print(as_json(report))
    else:
        print_table(report, Console(highlight=False))
    return report.fit
