"""Train and validation, split by trajectory: turns of one trajectory share their history."""

import hashlib

from pivot.errors import UserError


def is_validation(trajectory_id: str, fraction: float) -> bool:
    """Whether a trajectory is held out: by its hash, whichever other trajectories there are.

    Raises:
        UserError: the fraction is not between 0 and 1.
    """
    if not 0.0 <= fraction < 1.0:
        raise UserError(f"validation fraction {fraction} must be at least 0 and below 1, for example 0.1")
    digest = hashlib.sha256(trajectory_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
