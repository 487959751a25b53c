"""What each fault has cost, for the runbook."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one fault.

    Attributes:
        fault: In words.
        detected: Seconds until the job was on its way to another start, or had ended with the reason.
        lost: Steps that were trained twice.
        resumed: The step that the next start went on from.
    """

    fault: str
    detected: float
    lost: int
    resumed: int


@dataclass(slots=True)
class Table:
    """Costs in the order in which they were met."""

    costs: list[Cost] = field(default_factory=list)

    def add(self, cost: Cost) -> None:
        self.costs.append(cost)

    @property
    def newest(self) -> Cost:
        return self.costs[-1]

    def rename(self, fault: str) -> None:
        """Of the newest, once it is known what it was."""
        self.costs[-1] = replace(self.newest, fault=fault)

    def lines(self) -> list[str]:
        """As Markdown."""
        rows = [f"| {cost.fault} | {cost.detected:.1f} s | {cost.lost} | {cost.resumed} |" for cost in self.costs]
        return ["| fault | detected after | steps lost | resumed at step |", "|---|---|---|---|", *rows]
