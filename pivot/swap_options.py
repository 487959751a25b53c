"""The `swap` section of a configuration; free of torch, for it is read before anything heavy."""

from dataclasses import dataclass, field
from typing import Any

VOCAB_PADDING = 64
"""vLLM pads a vocabulary to a multiple of this before it cuts it (DEFAULT_VOCAB_PADDING_SIZE)."""

FP8 = ("block", "block_power_of_two", "mxfp8", "tensor")  # the names in pivot/swap/formats.py


@dataclass(frozen=True, slots=True)
class SwapSection:
    """The keys of the section, with their defaults."""

    bucket_mb: int = 256
    fp8: str | None = None
    keep: list[str] = field(default_factory=list)
    verify: float = 1.0


def rules(section: SwapSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the section."""
    return [
        ("swap.bucket_mb", section.bucket_mb, 1 <= section.bucket_mb < 2048, "from 1 to 2047"),
        ("swap.fp8", section.fp8, section.fp8 in (None, *FP8), f"null or one of {', '.join(FP8)}"),
        ("swap.verify", section.verify, 0 <= section.verify <= 1, "a share from 0 to 1"),
    ]
