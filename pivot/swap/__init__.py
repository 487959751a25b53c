"""Weights from the policy to the engine: what must go over, the push, and the proof that it arrived."""

from pivot.swap.errors import SwapError
from pivot.swap.manifest import Manifest
from pivot.swap.probe import Expected, ProbeResult, expect, probe
from pivot.swap.push import SwapStats, push

__all__ = ["Expected", "Manifest", "ProbeResult", "SwapError", "SwapStats", "expect", "probe", "push"]
