"""The `plan` section of a configuration; free of torch, for it is read before anything heavy."""

from dataclasses import dataclass
from typing import Any

from pivot.ops.plan.hardware import DEVICES


@dataclass(frozen=True, slots=True)
class PlanSection:
    """The keys of the section, with their defaults."""

    gpu: str = "cpu"
    history: int | None = None
    action: int | None = None


def rules(section: PlanSection) -> list[tuple[str, Any, bool, str]]:
    """(key, value, whether it can be used, what it must be) of the section."""
    return [
        ("plan.gpu", section.gpu, section.gpu in DEVICES, f"one of {', '.join(DEVICES)}"),
        ("plan.history", section.history, section.history is None or section.history >= 1, "null or at least 1"),
        ("plan.action", section.action, section.action is None or section.action >= 1, "null or at least 1"),
    ]
