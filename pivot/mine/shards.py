"""Which part of the work a process does when several jobs mine into one store, without talking to each other."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pivot.errors import UserError

_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Part:
    """Job `index` of `count`."""

    index: int = 0
    count: int = 1

    def file(self, rank: int) -> str:
        """The name of the store's shard that a rank of this job appends to."""
        return f"shard-{rank}.jsonl" if self.count == 1 else f"shard-{self.index}-{rank}.jsonl"


def part(shard: str | None, environment: Mapping[str, str], world: int) -> Part:
    """This job's part.

    Tasks of one `srun` that each form a world of their own share the part out among them; under torchrun, which
    sets a world over all of them, ranks share the work themselves.

    Args:
        shard: `mine.shard`: "i/n" is the i-th (from 0) of n jobs; None: this job does everything.
        environment: Of the process.
        world: Ranks that share this job's work.

    Raises:
        UserError: `shard` is no "i/n" with i < n.
    """
    index, count = 0, 1
    if shard is not None:
        match = _SHARD.fullmatch(shard)
        if match is None or not int(match[1]) < int(match[2]):
            raise UserError(f"configuration key 'mine.shard' is {shard!r}: it must be i/n with 0 <= i < n, as in 0/4")
        index, count = int(match[1]), int(match[2])
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "")
    if world == 1 and "RANK" not in environment and tasks.isdecimal() and int(tasks) > 1:
        index, count = index * int(tasks) + int(environment["SLURM_PROCID"]), count * int(tasks)
    return Part(index, count)
