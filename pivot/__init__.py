"""PivotRL: improve an agent from the turns of its own SFT trajectories that still carry a signal."""

__version__ = "0.1.0"
