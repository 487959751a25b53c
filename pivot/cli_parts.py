"""What every command of the command line is made of: its help with an example, and the arguments that many share."""

import argparse
from collections.abc import Callable
from typing import TypeAlias

from pivot.config import recipes

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add(
    commands: Commands, name: str, about: str, example: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=about, description=about, epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=run)
    return command


def add_configuration(command: argparse.ArgumentParser) -> None:
    """The arguments of a command that reads the whole configuration."""
    command.add_argument("--config", metavar="RECIPE", help=f"one of {', '.join(recipes())}, or a YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value",
                         help="any key of conf/pivotrl.yaml, which documents them all")  # fmt: skip
