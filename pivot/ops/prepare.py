"""The configuration of a batch script that was started by hand.

    python -m pivot.ops.prepare RECIPE RUN_DIR WORLD ACCEPT [argument of `pivot RECIPE`...]

writes RUN_DIR/<recipe>.yaml for WORLD ranks, and the variables they need to RUN_DIR/launch/<recipe>.env; ACCEPT is 1
where another configuration than the checkpoints' is meant.
"""

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path

from pivot.config import load, save
from pivot.errors import UserError
from pivot.ops import changes, record
from pivot.ops.render import of_ranks
from pivot.preflight import check


def prepare(recipe: str, run_dir: Path, world: int, accept: bool, arguments: list[str]) -> None:
    """Check a configuration and leave it in the run directory."""
    parser = argparse.ArgumentParser(prog=f"slurm/{recipe}.sbatch")
    parser.add_argument("--config")
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args(arguments)
    config = load(given.config, [*given.overrides, f"run.dir={run_dir}"])
    config = dataclasses.replace(config, parallel=dataclasses.replace(config.parallel, ranks=world))
    check(recipe, config)
    if not accept:
        changes.check(recipe, config, run_dir)
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in of_ranks(config).items()]
    (run_dir / "launch").mkdir(exist_ok=True)
    (run_dir / "launch" / f"{recipe}.env").write_text("".join(lines))
    save(config, run_dir / f"{recipe}.yaml")
    record.write(run_dir, record.Started(recipe, record.SLURM, str(Path.cwd())))


def main() -> None:
    recipe, run_dir, world, accept, *arguments = sys.argv[1:]
    try:
        prepare(recipe, Path(run_dir), int(world), accept == "1", arguments)
    except UserError as error:
        print(f"pivot: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
