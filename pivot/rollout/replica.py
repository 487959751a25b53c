"""The ranks that run one engine replica together: what they must have in common, and that they do.

Every rank of a replica runs the same scheduler over the same requests (vLLM's `external_launcher`), and only the
forward passes meet. Ranks that are asked for different things wait for one another for ever, and ranks that sample
differently go on with different contexts, without an error. Both are looked for here.
"""

import hashlib
import pickle
from typing import Any, TypeVar

import torch.distributed as dist

from pivot.rollout.placement import Placement

T = TypeVar("T")


class Replica:
    """The ranks of one replica as a group; of one rank it does nothing."""

    def __init__(self, placement: Placement, group: dist.ProcessGroup | None = None) -> None:
        """See the class.

        Args:
            placement: Of this rank.
            group: The replica's ranks, for objects on the CPU; not needed when the replica is one rank.

        Raises:
            RuntimeError: the engine cut the world in another way than `placement` says.
        """
        self.placement = placement
        self._group = group
        if placement.tensor > 1:
            found = dist.get_process_group_ranks(group)
            if found != list(placement.ranks):
                raise RuntimeError(f"vLLM put ranks {found} into one replica, the placement {list(placement.ranks)}")

    def from_first(self, value: T) -> T:
        """The value of the replica's first rank, on all its ranks; any picklable one."""
        if self.placement.tensor == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=self.placement.ranks[0], group=self._group)
        return box[0]

    def check_same(self, what: str, value: Any) -> None:
        """Stops ranks that differ.

        Raises:
            RuntimeError: on every rank of the replica, when `value` is not the same on all of them.
        """
        if self.placement.tensor == 1:
            return
        digest = hashlib.sha256(pickle.dumps(value)).hexdigest()
        everyone: list[Any] = [None] * self.placement.tensor
        dist.all_gather_object(everyone, digest, group=self._group)
        if len(set(everyone)) > 1:
            other = next(rank for rank, seen in zip(self.placement.ranks, everyone, strict=True) if seen != everyone[0])
            raise RuntimeError(f"{what} differ between ranks {self.placement.ranks[0]} and {other} of one replica")
