"""Train and validation, split by trajectory: turns of one trajectory share their history.

Or by task: trials of one task share what is to be found out.
"""

import hashlib

from pivot.errors import UserError

SPLITS = ("trajectory", "task")


def is_validation(group: str, fraction: float) -> bool:
    """Whether a trajectory (or task) is held out: by the hash of its id, whichever others there are.

    Raises:
        UserError: the fraction is not between 0 and 1.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"validation fraction {fraction} must be at least 0 and below 1, for example 0.1")
    digest = hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def group_of(split: str, trajectory_id: str, task_id: str | None) -> str:
    """The id that decides; a trajectory of which no task is known stands for itself."""
    return task_id if split == "task" and task_id is not None else trajectory_id
