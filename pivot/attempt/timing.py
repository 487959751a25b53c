"""How long before the end of an allocation a run has to stop: from the steps and saves that it has measured."""

from dataclasses import dataclass, field

FLOOR = 10.0  # seconds for ranks to agree, to end, and for what was not measured
UNKNOWN_SAVE = 20.0  # seconds, until one has been measured
REMEMBERED = 10  # steps


@dataclass(slots=True)
class Timing:
    """What a run has measured of itself.

    Attributes:
        deadline: When the allocation ends, in seconds since the epoch; None: never.
        save: Seconds of the longest save so far.
        steps: Seconds of the newest steps.
    """

    deadline: float | None
    save: float | None = None
    steps: list[float] = field(default_factory=list)

    def saved(self, seconds: float) -> None:
        """A save has taken so long."""
        self.save = max(self.save or 0.0, seconds)

    def stepped(self, seconds: float) -> None:
        """A step has taken so long."""
        self.steps = [*self.steps[-REMEMBERED + 1 :], seconds]

    @property
    def margin(self) -> float:
        """Seconds that stopping may take: a save that is running and one more, after a step that has just begun."""
        save = UNKNOWN_SAVE if self.save is None else self.save
        return FLOOR + 2 * save + 1.5 * max(self.steps, default=0.0)

    def is_over(self, now: float) -> bool:
        """Whether there is no time for another step."""
        return self.deadline is not None and now + self.margin > self.deadline
