"""Expert trajectories: read, cut at every assistant turn, identify, write as single-step rows."""

from pivot.trajectory.cut import candidates
from pivot.trajectory.rows import from_row, load_candidates, to_row
from pivot.trajectory.types import Action, Candidate, Message, Skip, Tool, ToolCall, Trajectory

__all__ = [
    "Action",
    "Candidate",
    "Message",
    "Skip",
    "Tool",
    "ToolCall",
    "Trajectory",
    "candidates",
    "from_row",
    "load_candidates",
    "to_row",
]
