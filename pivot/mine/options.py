"""The `mine` section of a configuration; free of torch, for it is read before anything heavy."""

from dataclasses import dataclass
from typing import Any

from pivot.mine.select import PRESETS


@dataclass(frozen=True, slots=True)
class MineSection:
    store: str = "data/mine"
    shard: str | None = None
    stale: str = "refuse"
    group_size: int = 8
    wave: int = 32
    waves: list[int] | None = None
    error_rate: float = 0.0
    prior: float = 0.5
    select: str = "paper"
    require_variance: bool | None = None
    max_mean: float | None = None
    per_trajectory: int | None = None
    message_share: float | None = None
    domain_ratio: float | None = None


def rules(mine: MineSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the mining section."""
    waves = mine.waves or [mine.group_size]
    return [
        ("mine.stale", mine.stale, mine.stale in ("refuse", "redo"), "refuse or redo"),
        ("mine.wave", mine.wave, mine.wave >= 1, "at least 1"),
        ("mine.waves", mine.waves, min(waves) >= 1 and sum(waves) == mine.group_size,
         f"null, or positive numbers that add up to mine.group_size ({mine.group_size})"),
        ("mine.error_rate", mine.error_rate, 0 <= mine.error_rate < 1, "at least 0 and below 1"),
        ("mine.prior", mine.prior, mine.prior > 0, "greater than 0"),
        ("mine.select", mine.select, mine.select in PRESETS, f"one of {', '.join(PRESETS)}"),
        ("mine.per_trajectory", mine.per_trajectory, mine.per_trajectory is None or mine.per_trajectory >= 1,
         "null or at least 1"),
        ("mine.message_share", mine.message_share, mine.message_share is None or 0 <= mine.message_share <= 1,
         "null or a share from 0 to 1"),
        ("mine.domain_ratio", mine.domain_ratio, mine.domain_ratio is None or mine.domain_ratio >= 1,
         "null or at least 1"),
    ]  # fmt: skip
