"""Train and validation, split by trajectory: turns of one trajectory share their history.

Or by task: trials of one task share what is to be found out.
"""

import hashlib

from pivot.errors import UserError
from pivot.trajectory.digests import DigestSet
from pivot.trajectory.identity import opening_id
from pivot.trajectory.types import Candidate, Trajectory

SPLITS = ("trajectory", "task")


def is_validation(group: str, fraction: float) -> bool:
    """Whether a trajectory (or task) is held out: by the hash of its id, whichever others there are.

    Raises:
        UserError: the fraction is not between 0 and 1.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"validation fraction {fraction} must be at least 0 and below 1, for example 0.1")
    return int.from_bytes(_hash(group)[:8], "big") < fraction * 2**64


def _hash(group: str) -> bytes:
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).digest()


class Sides:
    """Which side each trajectory is on.

    All of one name (or task) are on one side, and so are all that begin alike: the same conversation stands in several
    records up to different turns (logs of every call, rows cut elsewhere, a file exported twice), under names that
    need not be equal. The first of them is placed by `is_validation`, the others follow it.

    Args:
        split: What is held out whole: each `trajectory`, or all trajectories of a `task`.
        fraction: Share to hold out.

    Raises:
        UserError: an unknown split, or a fraction that is none.
    """

    def __init__(self, split: str, fraction: float) -> None:
        if split not in SPLITS:
            raise UserError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
        is_validation("", fraction)
        self._by_task = split == "task"
        self._fraction = fraction
        self._train, self._held_out = DigestSet(), DigestSet()

    def lacks_task(self, item: Trajectory | Candidate) -> bool:
        """Whether it is split by its own name although the split is by task: it names none."""
        return self._by_task and item.task_id is None

    def is_held_out(self, item: Trajectory | Candidate) -> bool | None:
        """Whether a trajectory, or a row of one, is held out; None when it belongs to both sides."""
        if not self._fraction:
            return False
        group = item.task_id if self._by_task and item.task_id is not None else item.trajectory_id
        opening = opening_id(item.messages, item.expected if isinstance(item, Candidate) else None)
        keys = [_hash(group).hex()[:24], *([opening] if opening is not None else [])]
        in_train, in_held_out = (any(key in side for key in keys) for side in (self._train, self._held_out))
        if in_train and in_held_out:
            return None
        held_out = in_held_out or (not in_train and is_validation(group, self._fraction))
        for key in keys:
            (self._held_out if held_out else self._train).add(key)
        return held_out
