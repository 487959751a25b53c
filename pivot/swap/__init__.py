"""Weights from the policy to the engine: what must go over, the push, and the proof that it arrived."""

from pivot.swap.blame import blame, marks
from pivot.swap.buckets import BucketSwap, SwapSettings, agree
from pivot.swap.errors import SwapError
from pivot.swap.guard import check_versions
from pivot.swap.manifest import Manifest
from pivot.swap.needs import EngineShape
from pivot.swap.open import Swap, open_swap
from pivot.swap.probe import Expected, ProbeResult, expect, probe
from pivot.swap.push import Gathered, SwapStats, push

__all__ = [
    "BucketSwap",
    "EngineShape",
    "Expected",
    "Gathered",
    "Manifest",
    "ProbeResult",
    "Swap",
    "SwapError",
    "SwapSettings",
    "SwapStats",
    "agree",
    "blame",
    "check_versions",
    "expect",
    "marks",
    "open_swap",
    "probe",
    "push",
]
